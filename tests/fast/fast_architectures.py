"""The networks on which the fast path is held against stock Keras: each by name, with the smallest image it takes.

Every network is built without weights and without a download.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest.mock import patch

from kdrecipes.backend import keras


class Architecture(NamedTuple):
    """How to build one network and which images it takes."""

    build: Callable[[], Any]  # a keras.Model from (batch, size, size, 3) pixels
    size: int  # pixels a side


# Sizes below which a network has no pixel left.
_SMALLEST = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}


def applications() -> dict[str, Architecture]:
    """Every network in `keras.applications`, with random weights and ten classes.

    NASNetMobile is left out: Keras refuses to build it on torch.
    """
    functions = {name: f for name, f in vars(keras.applications).items() if inspect.isfunction(f)}
    del functions["NASNetMobile"]
    return {name: _application(function, _SMALLEST.get(name, 32)) for name, function in functions.items()}


def _application(function: Callable[..., Any], size: int) -> Architecture:
    def build() -> Any:
        # Truncated normals take four draws each, and so a good part of the time that the large ones need.
        with patch("keras.src.backend.random.truncated_normal", keras.random.normal):
            return function(weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None)

    return Architecture(build, size)


def hub_backbones() -> dict[str, Architecture]:
    """The image backbones of KerasHub, narrow and shallow, together with every kind of block that they are made of."""
    return {f"hub-{name}": _hub_backbone(name.split("-")[0], options) for name, options in _HUB.items()}


def _hub_backbone(name: str, options: dict[str, Any]) -> Architecture:
    def build() -> Any:
        import keras_hub

        backbone = getattr(keras_hub.models, f"{name}Backbone")
        shape = "input_shape" if name == "EfficientNet" else "image_shape"
        return backbone(**{shape: (32, 32, 3)}, **options)

    return Architecture(build, 32)


def _resnet(**options: Any) -> dict[str, Any]:
    return {
        "input_conv_filters": [64],
        "input_conv_kernel_sizes": [7],
        "stackwise_num_filters": [64, 12],  # KerasHub asks for 64 first
        "stackwise_num_blocks": [2, 2],
        "stackwise_num_strides": [1, 2],
        **options,
    }


def _resnet_vd(**options: Any) -> dict[str, Any]:
    return _resnet(input_conv_filters=[8, 8, 64], input_conv_kernel_sizes=[3, 3, 3], **options)


def _cspnet(**options: Any) -> dict[str, Any]:
    return {
        "stem_filters": 8,
        "stem_kernel_size": 3,
        "stem_strides": 1,
        "stackwise_depth": [1, 2],
        "stackwise_strides": [1, 2],
        "stackwise_num_filters": [8, 16],
        **options,
    }


def _transformer(**options: Any) -> dict[str, Any]:
    return {"patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, **options}


def _mobilenet_v5(**options: Any) -> dict[str, Any]:
    return {
        "stackwise_block_types": [["er"], ["uir", "uir"], ["mqa", "mha"]],
        "stackwise_num_blocks": [1, 2, 2],
        "stackwise_num_filters": [[8], [16, 16], [16, 16]],
        "stackwise_strides": [[2], [2, 1], [1, 1]],
        "stackwise_act_layers": [["relu"], ["gelu", "relu"], ["relu", "relu"]],
        "stackwise_exp_ratios": [[4.0], [6.0, 3.0], [1.0, 1.0]],
        "stackwise_se_ratios": [[0.0], [0.0, 0.0], [0.0, 0.0]],
        "stackwise_dw_kernel_sizes": [[0], [5, 3], [5, 3]],
        "stackwise_dw_start_kernel_sizes": [[0], [3, 0], [0, 0]],
        "stackwise_dw_end_kernel_sizes": [[0], [0, 0], [0, 0]],
        "stackwise_exp_kernel_sizes": [[3], [0, 0], [0, 0]],
        "stackwise_pw_kernel_sizes": [[1], [0, 0], [0, 0]],
        "stackwise_num_heads": [[0], [0, 0], [2, 2]],
        "stackwise_key_dims": [[0], [0, 0], [8, 8]],
        "stackwise_value_dims": [[0], [0, 0], [8, 8]],
        "stackwise_kv_strides": [[0], [0, 0], [2, 1]],
        "stackwise_use_cpe": [[False], [False, False], [False, False]],
        **options,
    }


_HUB: dict[str, dict[str, Any]] = {
    "ResNet-v1": _resnet(block_type="bottleneck_block"),
    "ResNet-v1-basic": _resnet(block_type="basic_block"),
    "ResNet-v2": _resnet(block_type="bottleneck_block", use_pre_activation=True),
    "ResNet-vd": _resnet_vd(block_type="bottleneck_block_vd"),
    "ResNet-vd-basic": _resnet_vd(block_type="basic_block_vd"),
    "MobileNet": {
        "stackwise_expansion": [[24, 24], [32]],
        "stackwise_num_blocks": [2, 1],
        "stackwise_num_filters": [[8, 8], [16]],
        "stackwise_kernel_size": [[3, 5], [5]],
        "stackwise_num_strides": [[2, 1], [2]],
        "stackwise_se_ratio": [[None, 0.25], [0.25]],
        "stackwise_activation": [["relu", "hard_swish"], ["hard_swish"]],
        "stackwise_padding": [[1, 2], [2]],
        "output_num_filters": 32,
        "depthwise_filters": 8,
        "depthwise_stride": 2,
        "depthwise_residual": False,
        "last_layer_filter": 32,
        "squeeze_and_excite": 0.5,
    },
    "MobileNetV5": _mobilenet_v5(use_msfa=False, num_features=32),
    "MobileNetV5-fused": _mobilenet_v5(use_msfa=True, num_features=32, msfa_output_resolution=4),
    "MobileNetV5-batch-norm": _mobilenet_v5(
        use_msfa=False, norm_layer="batch_norm", layer_scale_init_value=0.5, num_features=32
    ),
    "EfficientNet": {
        "stackwise_width_coefficients": [1.0] * 3,
        "stackwise_depth_coefficients": [1.0] * 3,
        "stackwise_kernel_sizes": [3, 3, 5],
        "stackwise_num_repeats": [1, 2, 1],
        "stackwise_input_filters": [8, 8, 16],
        "stackwise_output_filters": [8, 16, 24],
        "stackwise_expansion_ratios": [1, 4, 4],
        "stackwise_squeeze_and_excite_ratios": [0.0, 0.25, 0.25],
        "stackwise_strides": [1, 2, 2],
        "stackwise_block_types": ["fused", "unfused", "cba"],
        "stackwise_force_input_filters": [0] * 3,
        "stackwise_nores_option": [False] * 3,
        "num_features": 32,
    },
    "DenseNet": {"stackwise_num_repeats": [2, 2], "growth_rate": 8},
    "CSPNet-dark": _cspnet(block_type="dark_block", stage_type="dark"),
    "CSPNet-csp": _cspnet(
        block_type="bottleneck_block", stage_type="csp", groups=2, block_ratio=[0.5], expand_ratio=[1.0]
    ),
    "CSPNet-cs3": _cspnet(block_type="edge_block", stage_type="cs3", avg_down=True, expand_ratio=[2.0]),
    "VGG": {"stackwise_num_repeats": [1, 2], "stackwise_num_filters": [8, 16]},
    "ViT": _transformer(mlp_dim=32),
    "DeiT": _transformer(intermediate_dim=32),
    "DINOV2": _transformer(intermediate_dim=32, position_embedding_shape=(40, 40), num_register_tokens=1),
    "DINOV3": _transformer(intermediate_dim=32),
    "SwinTransformer": {
        "embed_dim": 16,
        "depths": (2, 2),
        "num_heads": (2, 4),
        "window_size": 4,
        "drop_path": 0.0,
    },
    "HGNetV2": {
        "depths": [1, 2],
        "embedding_size": 8,
        "hidden_sizes": [16, 32],
        "stem_channels": [3, 8, 8],
        "hidden_act": "relu",
        "use_learnable_affine_block": True,
        "stackwise_stage_filters": [(8, 8, 16, 1, 2, 3), (16, 8, 32, 2, 2, 5)],
        "apply_downsample": [False, True],
        "use_lightweight_conv_block": [False, True],
    },
    "Xception": {"stackwise_conv_filters": [[8, 16], [16, 24], [32, 32]], "stackwise_pooling": [True, True, False]},
    "MiT": {
        "layerwise_depths": [1, 1],
        "num_layers": 2,
        "layerwise_num_heads": [1, 2],
        "layerwise_sr_ratios": [2, 1],
        "max_drop_path_rate": 0.0,
        "layerwise_patch_sizes": [7, 3],
        "layerwise_strides": [4, 2],
        "hidden_dims": [8, 16],
    },
    "ViTDet": {
        "hidden_size": 16,
        "num_layers": 2,
        "intermediate_dim": 32,
        "num_heads": 2,
        "global_attention_layer_indices": [1],
        "patch_size": 8,
        "num_output_channels": 16,
        "window_size": 2,
    },
}
