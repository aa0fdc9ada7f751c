"""What of common architectures a crossbar holds, and whether an ideal chip computes what the digital model does.

    pip install '.[vision,timm,huggingface]'
    python benchmarks/models/architectures.py [NAME ...]

Builds each model with random weights (nothing is downloaded), counts the share of its parameters and multiplies on
arrays and its folded BatchNorms, and compares the outputs of an ideal chip with the digital ones: with weight errors
alone, and computed in arrays of 256 rows. The differences are relative to the largest digital output. Prints the table
of docs/reference/models.md.
"""

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from aimc_robust import DAC, Crossbar, coverage, program
from aimc_robust.tasks.calling import call_model

IDEAL = Crossbar("ideal")
IDEAL_ARRAYS = Crossbar("ideal", window=(0.2, 1.0), mapping="two-sided", rows=256, dac=DAC(kind="ideal"))
TOKENS = 17

TORCHVISION = {
    "alexnet": 64, "vgg11_bn": 32, "resnet18": 64, "resnext50_32x4d": 64, "wide_resnet50_2": 64, "densenet121": 64,
    "googlenet": 64, "inception_v3": 96, "mobilenet_v2": 64, "mobilenet_v3_small": 64, "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 64, "mnasnet0_5": 64, "efficientnet_b0": 64, "regnet_y_400mf": 64, "convnext_tiny": 64,
    "vit_b_32": 224, "swin_t": 64, "maxvit_t": 224,
}  # fmt: skip
TIMM = {
    "resnet26d": 64, "regnetx_002": 64, "efficientnet_lite0": 64, "tf_mobilenetv3_small_minimal_100": 64,
    "ghostnet_100": 64, "rexnet_100": 64, "repvgg_a0": 64, "res2net50_26w_4s": 64, "dla34": 64, "darknet53": 64,
    "cspresnet50": 64, "hrnet_w18_small": 64, "xception41": 64, "ese_vovnet19b_dw": 64, "mobileone_s0": 64,
    "convmixer_768_32": 64, "fastvit_t8": 64, "edgenext_xx_small": 64, "mobilevit_xxs": 64, "poolformerv2_s12": 64,
    "convnextv2_atto": 64, "vit_tiny_patch16_224": 224, "deit_tiny_patch16_224": 224, "cait_xxs24_224": 224,
    "levit_128s": 224, "pit_ti_224": 224, "mixer_s32_224": 224, "gmlp_ti16_224": 224, "eva02_tiny_patch14_224": 224,
}  # fmt: skip


def transformers_models() -> dict[str, Callable[[], nn.Module]]:
    """Return small models of transformers, made on the spot."""
    import transformers as t

    small: dict[str, Any] = {
        "vocab_size": 64, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 32,
    }  # fmt: skip
    causal = small | {"num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return {
        "GPT-2": lambda: t.GPT2LMHeadModel(
            t.GPT2Config(vocab_size=64, n_positions=32, n_embd=64, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2)
        ),
        "Llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**causal)),
        "Mistral": lambda: t.MistralForCausalLM(t.MistralConfig(**causal)),
        "Qwen2": lambda: t.Qwen2ForCausalLM(t.Qwen2Config(**causal)),
        "Gemma": lambda: t.GemmaForCausalLM(t.GemmaConfig(**causal, head_dim=16)),
        "Phi": lambda: t.PhiForCausalLM(t.PhiConfig(**causal)),
        "OPT": lambda: t.OPTForCausalLM(
            t.OPTConfig(
                vocab_size=64,
                hidden_size=64,
                ffn_dim=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=32,
                word_embed_proj_dim=64,
            )
        ),
        "BERT": lambda: t.BertForSequenceClassification(t.BertConfig(**small)),
        "RoBERTa": lambda: t.RobertaForSequenceClassification(t.RobertaConfig(**small)),
        "DistilBERT": lambda: t.DistilBertForSequenceClassification(
            t.DistilBertConfig(vocab_size=64, dim=64, hidden_dim=128, n_layers=2, n_heads=4, max_position_embeddings=32)
        ),
        "ELECTRA": lambda: t.ElectraForSequenceClassification(t.ElectraConfig(**small, embedding_size=64)),
        "Mixtral": lambda: t.MixtralForCausalLM(t.MixtralConfig(**causal, num_local_experts=4)),
    }


def build(name: str) -> tuple[nn.Module, Any]:
    """Return a model, as `torchvision:NAME`, `timm:NAME` or `transformers:NAME`, and an example input."""
    torch.manual_seed(0)
    library, _, key = name.partition(":")
    if library == "transformers":
        return transformers_models()[key]().eval(), {"input_ids": torch.arange(TOKENS).remainder(60)[None] + 3}
    size = (TORCHVISION if library == "torchvision" else TIMM)[key]
    if library == "torchvision":
        import torchvision

        options = {"init_weights": False} if key in ("googlenet", "inception_v3") else {}
        model = torchvision.models.get_model(key, weights=None, num_classes=10, **options)
    else:
        import timm

        model = timm.create_model(key, num_classes=10)
    stir(model)
    return model.eval(), torch.randn(1, 3, size, size)


@torch.no_grad()
def stir(model: nn.Module) -> None:
    """Give BatchNorms statistics as training leaves them, and layers that start at zero some weights."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
        elif isinstance(module, nn.Linear | nn.Conv2d) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)


def all_names() -> list[str]:
    """Return the names of all models of the table."""
    names = [f"torchvision:{name}" for name in TORCHVISION] + [f"timm:{name}" for name in TIMM]
    return names + [f"transformers:{name}" for name in transformers_models()]


def row(name: str) -> str:
    """Return the table's row of one model."""
    model, example = build(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = coverage(model, example)
        weights, arrays = difference(model, IDEAL, example), difference(model, IDEAL_ARRAYS, example)
    norms = sum(isinstance(module, _BatchNorm) for module in model.modules())
    shares = [100.0 * found.analog_parameters / found.total_parameters, found.macs.analog_percent]
    folded = f"{len(found.folding.folded)} of {norms}" if norms else ""
    return f"| {name} | {shares[0]:.1f} | {shares[1]:.1f} | {folded} | {weights} | {arrays} |"


@torch.no_grad()
def difference(model: nn.Module, crossbar: Crossbar, example: Any) -> str:
    """Return the largest difference of a chip from the digital model, or why there is no such chip."""
    try:
        want, got = (logits(call_model(m, example)) for m in (model, program(model, crossbar)))
    except Exception as error:  # the table says what is refused
        return f"refused: {str(error).split(';')[0].split('. ')[0]}"
    return f"{float((got - want).abs().max() / want.abs().max()):.0e}"


def logits(output: Any) -> Tensor:
    """Return the main output of a model."""
    tensor = output if isinstance(output, Tensor) else output.logits
    assert isinstance(tensor, Tensor)
    return tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="models, as torchvision:resnet18; default: all")
    print(
        "| model | parameters on arrays [%] | multiplies on arrays [%] | BatchNorms folded | ideal weights | arrays |"
    )
    print("|---|---|---|---|---|---|")
    for name in parser.parse_args().names or all_names():
        print(row(name), flush=True)


if __name__ == "__main__":
    main()
