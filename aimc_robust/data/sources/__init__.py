"""Where images come from: npz files, folders, torchvision, arrays that ship with a library."""
