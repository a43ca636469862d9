"""Classes and superclasses of CIFAR-100, and the class splits of FC100 and CIFAR-FS.

This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping

SUPERCLASSES: Mapping[str, tuple[str, ...]] = {
    name: tuple(classes.split())
    for name, classes in {
        "aquatic_mammals": "beaver dolphin otter seal whale",
        "fish": "aquarium_fish flatfish ray shark trout",
        "flowers": "orchid poppy rose sunflower tulip",
        "food_containers": "bottle bowl can cup plate",
        "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
        "household_electrical_devices": "clock keyboard lamp telephone television",
        "household_furniture": "bed chair couch table wardrobe",
        "insects": "bee beetle butterfly caterpillar cockroach",
        "large_carnivores": "bear leopard lion tiger wolf",
        "large_man-made_outdoor_things": "bridge castle house road skyscraper",
        "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
        "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
        "medium_mammals": "fox porcupine possum raccoon skunk",
        "non-insect_invertebrates": "crab lobster snail spider worm",
        "people": "baby boy girl man woman",
        "reptiles": "crocodile dinosaur lizard snake turtle",
        "small_mammals": "hamster mouse rabbit shrew squirrel",
        "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
        "vehicles_1": "bicycle bus motorcycle pickup_truck train",
        "vehicles_2": "lawn_mower rocket streetcar tank tractor",
    }.items()
}
"""The classes of each superclass. The label of a class or superclass is its position in alphabetical order."""

CLASSES = tuple(sorted(name for names in SUPERCLASSES.values() for name in names))

IMAGES: dict[str, int] = {"train": 500, "test": 100}
"""Number of images of each class in each published file. Few-shot splits divide the classes and use both files."""


def _of_superclasses(labels: str) -> tuple[str, ...]:
    superclasses = tuple(SUPERCLASSES.values())
    return tuple(sorted(name for label in labels.split() for name in superclasses[int(label)]))


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_VAL = _names(
    """
    beaver beetle butterfly camel cattle crab crocodile flatfish lamp maple_tree motorcycle otter sea shark television
    tractor
    """
)
_TEST = _names(
    """
    baby bed bicycle chimpanzee fox leopard man pickup_truck plain poppy rocket rose snail sweet_pepper table telephone
    wardrobe whale woman worm
    """
)

SPLITS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    # Oreshkin, Rodriguez and Lacoste (2018), "TADAM": whole superclasses, so that held-out classes differ more.
    "fc100": {
        "train": _of_superclasses("1 2 3 4 5 6 9 10 15 17 18 19"),
        "val": _of_superclasses("8 11 13 16"),
        "test": _of_superclasses("0 7 12 14"),
    },
    # Bertinetto, Henriques, Torr and Vedaldi (2019), "Meta-learning with differentiable closed-form solvers": the lists
    # in splits/bertinetto of their data.
    "cifar_fs": {
        "train": tuple(name for name in CLASSES if name not in {*_VAL, *_TEST}),
        "val": _VAL,
        "test": _TEST,
    },
}
"""The classes of each split of FC100 and of CIFAR-FS, sorted by name."""
