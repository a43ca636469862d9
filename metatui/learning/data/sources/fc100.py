"""Declaration of FC100."""

from __future__ import annotations

from metatui.learning.data.cifar100.declaration import Cifar100


class FC100(Cifar100):
    """CIFAR-100 with splits of whole superclasses (Oreshkin et al. 2018)."""

    name = "fc100"
    title = "FC100"
