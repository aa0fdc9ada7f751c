"""Checkpoints as the libraries themselves write them."""

import argparse
import pathlib

import numpy as np
import pytest
import torch
from torch import nn

from aimc_robust.models.pretrained import load_weights, read_weights
from aimc_robust.models.weight_selection import WeightSelection


def loaded(model, path, **options):
    """The model with a file's weights, and all notes."""
    weights = read_weights(path, WeightSelection(**options))
    return model, [*weights.notes, *load_weights(model, weights, source="file")]


def same(model, state):
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_timm(tmp_path):
    timm = pytest.importorskip("timm")
    utils = pytest.importorskip("timm.utils")
    raw, other = (timm.create_model("resnet10t", num_classes=10, in_chans=1) for _ in range(2))
    average = utils.ModelEmaV3(other)
    saver = utils.CheckpointSaver(
        raw,
        torch.optim.SGD(raw.parameters(), 0.1, momentum=0.9),
        args=argparse.Namespace(model="resnet10t", lr=0.1, mean=(0.5,), opt_kwargs={}, crop_pct=None),
        model_ema=average,
        checkpoint_dir=tmp_path,
        recovery_dir=tmp_path,
    )
    saver.save_checkpoint(0, metric=np.float64(93.1))
    model, notes = loaded(timm.create_model("resnet10t", num_classes=10, in_chans=1), tmp_path / "last.pth.tar")
    assert same(model, raw.state_dict())
    assert notes == [
        "read the weights under 'state_dict'; the file also holds 'state_dict_ema' (choose by --key state_dict_ema)"
    ]
    assert same(loaded(model, tmp_path / "last.pth.tar", key="state_dict_ema")[0], average.module.state_dict())


def test_lightning(tmp_path):
    lightning = pytest.importorskip("lightning")
    callbacks = pytest.importorskip("lightning.pytorch.callbacks")

    class Module(lightning.LightningModule):
        def __init__(self, options, folder):
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Sequential(nn.Linear(4, 3))
            self.loss = nn.CrossEntropyLoss(weight=torch.ones(3))

        def training_step(self, batch, _):
            loss = self.loss(self.net(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def train_dataloader(self):
            inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
            return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, torch.arange(8) % 3), 4)

        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.parameters())
            return [optimizer], [torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 1, 3])]

    module = Module(argparse.Namespace(lr=0.1), pathlib.Path("runs"))
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            callbacks.ModelCheckpoint(tmp_path, monitor="loss", save_last=True),
            callbacks.EarlyStopping("loss"),
        ],
    )
    trainer.fit(module)
    for options in ({"prefix": "net."}, {"ignore": ["loss.*"]}):
        model, _ = loaded(nn.Sequential(nn.Linear(4, 3)), tmp_path / "last.ckpt", **options)
        assert same(model, module.net.state_dict())
    assert not same(nn.Sequential(nn.Linear(4, 3)), module.net.state_dict())  # control


def test_the_trainer_of_hugging_face(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=20
    )
    model = transformers.BertForSequenceClassification(config)
    examples = [{"input_ids": torch.arange(6) + i, "labels": torch.tensor(i % 2)} for i in range(8)]
    arguments = transformers.TrainingArguments(tmp_path, max_steps=2, save_steps=2, report_to=[], use_cpu=True)
    transformers.Trainer(model, arguments, train_dataset=examples).train()
    other, notes = loaded(transformers.BertForSequenceClassification(config), tmp_path / "checkpoint-2")
    assert same(other, model.state_dict())
    assert notes == []
