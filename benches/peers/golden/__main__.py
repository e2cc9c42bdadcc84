"""Writes the golden files that our tests compare with, from PyTorch: `python benches/peers/golden [AREA…]`.

Each module beside this one is an area: `FILE`, where its file goes, from the root of the repository, and `cases()`, the named tensors
in it. The values are float64 and seeded, so that a file changes only with its module or with PyTorch.
"""

import importlib
import pathlib
import sys

import torch
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def main() -> None:
    areas = sys.argv[1:] or sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    for area in areas:
        module = importlib.import_module(area)
        # Adding zeros makes real storage of PyTorch's symbolic zeros; the file holds rows whatever the order in memory.
        tensors = {name: (value.detach().double() + torch.zeros(())).contiguous().numpy() for name, value in module.cases().items()}
        file = ROOT / module.FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, file)
        file.chmod(0o644)
        print(f"{module.FILE}: {len(tensors)} tensors, {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
