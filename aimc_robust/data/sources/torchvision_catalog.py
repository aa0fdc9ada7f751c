"""Data sets of torchvision with one class per image: names of their splits, and the files that they expect."""

from typing import Any

# Arguments that select the test and the training split.
_FLAG = ({"train": False}, {"train": True})
_TEST = ({"split": "test"}, {"split": "train"})
_VALIDATION = ({"split": "val"}, {"split": "train"})  # their test labels are not public
DATASETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **dict.fromkeys(("CIFAR10", "CIFAR100", "FashionMNIST", "KMNIST", "MNIST", "QMNIST", "USPS"), _FLAG),
    **dict.fromkeys(("Country211", "DTD", "FER2013", "FGVCAircraft", "Flowers102", "Food101", "GTSRB"), _TEST),
    **dict.fromkeys(("LFWPeople", "PCAM", "RenderedSST2", "STL10", "SVHN", "StanfordCars"), _TEST),
    **dict.fromkeys(("CLEVRClassification", "ImageNet", "Imagenette"), _VALIDATION),
    "OxfordIIITPet": ({"split": "test"}, {"split": "trainval"}),
    "Places365": ({"split": "val"}, {"split": "train-standard"}),
}

OFFLINE = ("LFWPeople", "StanfordCars")  # their sources went offline
_IDX = "/raw/ with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"
# Files that each data set expects below its root.
FILES: dict[str, str] = {
    "CIFAR10": "cifar-10-batches-py/ with data_batch_1 to data_batch_5, test_batch and batches.meta",
    "CIFAR100": "cifar-100-python/ with train, test and meta",
    **{name: name + _IDX for name in ("FashionMNIST", "KMNIST", "MNIST")},
    "QMNIST": "QMNIST/raw/ with qmnist-train-images-idx3-ubyte, qmnist-train-labels-idx2-int, "
    "qmnist-test-images-idx3-ubyte and qmnist-test-labels-idx2-int",
    "USPS": "usps.bz2 and usps.t.bz2",
    "Country211": "country211/ with train and test",
    "DTD": "dtd/dtd/ with images and labels",
    "FER2013": "fer2013/ with fer2013.csv or icml_face_data.csv",
    "FGVCAircraft": "fgvc-aircraft-2013b/data/ with images, variants.txt, images_variant_train.txt and "
    "images_variant_test.txt",
    "Flowers102": "flowers-102/ with jpg, imagelabels.mat and setid.mat",
    "Food101": "food-101/ with images, meta/train.json and meta/test.json",
    "GTSRB": "gtsrb/ with GTSRB/Training, GTSRB/Final_Test/Images and GT-final_test.csv",
    "LFWPeople": "lfw-py/ with lfw-funneled.tgz, lfw_funneled, peopleDevTrain.txt, peopleDevTest.txt and lfw-names.txt",
    "PCAM": "pcam/ with camelyonpatch_level_2_split_train_x.h5, camelyonpatch_level_2_split_train_y.h5, "
    "camelyonpatch_level_2_split_test_x.h5 and camelyonpatch_level_2_split_test_y.h5",
    "RenderedSST2": "rendered-sst2/ with train and test",
    "STL10": "stl10_binary/ with train_X.bin, train_y.bin, unlabeled_X.bin, test_X.bin and test_y.bin",
    "SVHN": "train_32x32.mat and test_32x32.mat",
    "StanfordCars": "stanford_cars/ with devkit, cars_train, cars_test and cars_test_annos_withlabels.mat",
    "CLEVRClassification": "clevr/CLEVR_v1.0/ with images and scenes",
    "ImageNet": "ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, or what "
    "torchvision makes of them (meta.bin, train and val with a folder for each class)",
    "Imagenette": "imagenette2/ with train and val",
    "OxfordIIITPet": "oxford-iiit-pet/ with images and annotations",
    "Places365": "categories_places365.txt, places365_train_standard.txt, places365_val.txt, data_large_standard and "
    "val_large",
}
