"""Small Lightning trainings on digits."""

import logging

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from aimc_robust.integrations.lightning import DiagnosticsCallback
from aimc_robust.training.robust_optimizer import RobustOptimizer

__all__ = ["DiagnosticsCallback"]

BATCH, UPDATES, EPOCHS = 64, 4, 2


def data():
    """(inputs, labels) of the training's images, and of others."""
    digits, images = load_digits(), BATCH * UPDATES
    inputs = torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1)
    labels = torch.tensor(digits.target)
    return (inputs[:images], labels[:images]), (inputs[images : 2 * images], labels[images : 2 * images])


def net():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    return nn.Sequential(*layers)


def base_and_scheduler(model):
    base = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return base, lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=UPDATES * EPOCHS)


class Classifier(pl.LightningModule):
    """Automatic optimisation, with nothing of its own but the line that makes the optimizer."""

    def __init__(self, method):
        super().__init__()
        self.net, self.method = net(), method

    def training_step(self, batch, batch_idx):
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        base, schedule = base_and_scheduler(self.net)
        method = self.method.for_run(self.trainer.estimated_stepping_batches)
        optimizer = RobustOptimizer(base, self.net, method)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule(optimizer), "interval": "step"}}


class Plain(Classifier):
    def configure_optimizers(self):
        return base_and_scheduler(self.net)[0]


def fit(folder, module, *callbacks, checkpoint=None, **more):
    """Train a module as `trainer.fit` does; returns the trainer."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        logger=CSVLogger(folder),
        callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        **more,
    )
    trainer.fit(module, DataLoader(TensorDataset(*data()[0]), BATCH), ckpt_path=checkpoint)
    return trainer
