"""Declaration of CIFAR-FS."""

from __future__ import annotations

from metatui.learning.data.cifar100.declaration import Cifar100


class CifarFS(Cifar100):
    """CIFAR-100 with random class splits (Bertinetto et al. 2019)."""

    name = "cifar_fs"
    title = "CIFAR-FS"
