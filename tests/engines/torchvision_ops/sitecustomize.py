"""Lets PyPI's torchvision be imported beside PyTorch for CPUs: its own operators are for CUDA, and none is used."""

import torch

for operator in ("nms", "qnms"):
    torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
