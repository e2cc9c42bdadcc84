"""Ten steps of optimizers on a quadratic and on Rosenbrock's function, and learning rates of schedules."""

import torch
from torch.optim import lr_scheduler
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

FILE = "crates/optimizers/tests/golden/optimizers.safetensors"

STEPS = 10

OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"lr": 1e-3}),
    "sgd_momentum": (torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9, "weight_decay": 0.1}),
    "sgd_nesterov": (torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "adam": (torch.optim.Adam, {"lr": 1e-1}),
    "adam_decay": (torch.optim.Adam, {"lr": 1e-1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    "adam_w": (torch.optim.AdamW, {"lr": 1e-1}),
    "ams_grad": (torch.optim.Adam, {"lr": 1e-1, "betas": (0.5, 0.6), "weight_decay": 0.1, "amsgrad": True}),
    "ams_grad_w": (torch.optim.AdamW, {"lr": 1e-1, "betas": (0.5, 0.6), "weight_decay": 0.1, "amsgrad": True}),
    "adamax": (torch.optim.Adamax, {"lr": 1e-1, "betas": (0.5, 0.6), "weight_decay": 0.1}),
    "rms_prop": (torch.optim.RMSprop, {"lr": 1e-2, "weight_decay": 0.1}),
    "rms_prop_centered": (torch.optim.RMSprop, {"lr": 1e-2, "alpha": 0.9, "centered": True}),
    "rms_prop_momentum": (torch.optim.RMSprop, {"lr": 1e-2, "alpha": 0.9, "momentum": 0.5}),
    "rms_prop_both": (torch.optim.RMSprop, {"lr": 1e-2, "alpha": 0.9, "momentum": 0.5, "centered": True, "eps": 1e-2}),
    "adagrad": (torch.optim.Adagrad, {"lr": 1e-1, "initial_accumulator_value": 0.1, "weight_decay": 0.1}),
}


def quadratic(x: torch.Tensor) -> torch.Tensor:
    curvature = torch.tensor([1.0, 10.0, 0.1], dtype=torch.float64)
    centre = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    return 0.5 * (curvature * (x - centre) ** 2).sum()


def rosenbrock(x: torch.Tensor) -> torch.Tensor:
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


FUNCTIONS = {"quadratic": (quadratic, [3.0, -1.0, 0.5]), "rosenbrock": (rosenbrock, [-1.2, 1.0])}

SCHEDULES = {
    "step": lambda o: lr_scheduler.StepLR(o, step_size=7, gamma=0.3),
    "multi_step": lambda o: lr_scheduler.MultiStepLR(o, milestones=[5, 11, 30], gamma=0.3),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, gamma=0.9),
    "linear": lambda o: lr_scheduler.PolynomialLR(o, total_iters=25),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, total_iters=25, power=2.5),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=40, eta_min=0.2),
    "one_cycle": lambda o: lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=41, cycle_momentum=False),
    "one_cycle_late": lambda o: lr_scheduler.OneCycleLR(
        o, max_lr=1.0, total_steps=41, pct_start=0.55, div_factor=5, final_div_factor=7, cycle_momentum=False
    ),
    "warm_up_cosine": lambda o: get_cosine_schedule_with_warmup(o, 8, 40),
    "warm_up_linear": lambda o: get_linear_schedule_with_warmup(o, 8, 35),
}


def cases() -> dict[str, torch.Tensor]:
    tensors = {}
    for function_name, (function, start) in FUNCTIONS.items():
        for name, (optimizer, options) in OPTIMIZERS.items():
            x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
            rule = optimizer([x], **options)
            path = []
            for _ in range(STEPS):
                rule.zero_grad()
                function(x).backward()
                rule.step()
                path.append(x.detach().clone())
            tensors[f"{name}.{function_name}"] = torch.stack(path)
    for name, schedule in SCHEDULES.items():
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        scheduler = schedule(optimizer)
        factors = []
        for step in range(41):
            factors.append(optimizer.param_groups[0]["lr"])
            if step < 40:
                optimizer.step()
                scheduler.step()
        tensors[f"schedule.{name}"] = torch.tensor(factors, dtype=torch.float64)
    return tensors
