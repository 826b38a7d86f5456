"""The image side of a VITAL checkpoint in transformers' native InternVL layout.

Still pictures never reach the motion encoder, so what is left is an InternVL: `AutoModelForImageTextToText` loads the
result without remote code, and serving engines that know InternVL can run it. Weights are filtered shard by shard.
"""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, InternVLConfig
from transformers import InternVLForConditionalGeneration as InternVL
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from ..configuration_vital import VitalConfig
from ..image_processing_vital import VitalImageProcessor
from ..levels_vital import level_token_ids
from ..messages import progress_bar
from ..processing_vital import VitalProcessor
from .folders import ExportError, checkpoint_folder, new_folder, read_config, write_json


INDEX = "model.safetensors.index.json"
SCORING_FILE = "vital_scoring.json"
"""Name of the file with what a client of a server needs to score; see `scoring_settings`."""

_GRID_SETTINGS = ("min_tiles", "max_tiles", "tile_rule")
_IMAGE_SIDE = ("model.vision_tower.", "model.multi_modal_projector.", "model.language_model.", "lm_head.")
_MOTION_SIDE = ("model.motion_encoder.", "model.motion_projector.")

_OUR_PLACEHOLDER = "<{{ part['type'] }}>"
_NO_CLIPS = (
    "{%- if part['type'] == 'video' -%}{{ raise_exception('This model sees still pictures only.') }}{%- endif -%}"
)

logger = logging.getLogger(__name__)


def export_internvl(source: str, destination: str | Path) -> None:
    """Writes a folder in transformers' InternVL layout that scores pictures as the checkpoint does.

    Args:
        source (`str`): a checkpoint folder, or a Hub id.
        destination (`str` or `Path`): the new folder.

    Raises:
        ExportError: if the checkpoint is none of VITAL's, its image encoder is not InternVL's, a file of it is missing
            or broken, or the destination exists.
    """
    destination = Path(destination)
    with new_folder(destination) as partial:
        folder = checkpoint_folder(source)
        config = _vital_config(folder)
        native = native_config(config)
        try:
            processor = VitalProcessor.from_pretrained(folder)
        except (OSError, ValueError, TypeError) as error:
            raise ExportError(f"The processor beside {folder} cannot be loaded: {error}") from error
        _write_config(partial, native)
        _generation_config(folder, config).save_pretrained(partial)
        _write_processor(partial, processor)
        _write_tokenizer(partial, folder, processor)
        write_json(partial / SCORING_FILE, scoring_settings(config, processor))
        shapes = _write_weights(folder, partial)
        _check_shapes(native, shapes)
    for difference in tiling_differences(processor):
        logger.warning("engines will cut pictures otherwise than the checkpoint does: %s", difference)


def native_config(config: VitalConfig) -> InternVLConfig:
    """transformers' InternVL configuration of the image side.

    Args:
        config (`VitalConfig`): of the checkpoint.

    Raises:
        ExportError: if transformers' InternVL cannot compute what the checkpoint's image side does.
    """
    vision = config.vision_config
    if vision.model_type != "internvl_vision":
        raise ExportError(
            f"The image encoder of this checkpoint is a {vision.model_type!r}, and the InternVL layout holds only "
            "InternVL's ('internvl_vision'). Score with `vital score`, or export another member of the zoo."
        )
    if getattr(vision, "qk_norm_eps", None):
        raise ExportError(
            f"The image encoder normalises queries and keys with epsilon {vision.qk_norm_eps}, which transformers' "
            "InternVL cannot be told: its features would differ."
        )
    native = InternVLConfig(
        vision_config=type(vision)(**vision.to_dict()),
        text_config=type(config.text_config)(**config.text_config.to_dict()),
        image_token_id=config.image_token_id,
        image_seq_length=config.image_seq_length,
        downsample_ratio=config.downsample_ratio,
        projector_hidden_act=config.projector_hidden_act,
        vision_feature_layer=-1,
        tie_word_embeddings=config.tie_word_embeddings,
        architectures=["InternVLForConditionalGeneration"],
        dtype=config.dtype,
        eos_token_id=getattr(config, "eos_token_id", None),
        pad_token_id=getattr(config, "pad_token_id", None),
    )
    # Engines look up the decoder and llama.cpp's converter the encoder by these names.
    native.text_config.architectures = [AutoModelForCausalLM._model_mapping[type(config.text_config)].__name__]
    native.vision_config.architectures = ["InternVisionModel"]
    return native


def scoring_settings(config: VitalConfig, processor: VitalProcessor) -> dict[str, Any]:
    """Settings for a client of a server to score with: words and values best first, token ids, answer prefix, grid."""
    return {
        "level_words": config.level_words,
        "level_values": config.level_values,
        "level_token_ids": level_token_ids(processor.tokenizer, config.level_words),
        "answer_prefix": processor.answer_prefixes["image"],
        "tiles": {name: getattr(processor.image_processor, name) for name in ("tile_size", *_GRID_SETTINGS)},
    }


def tiling_differences(processor: VitalProcessor) -> list[str]:
    """In what InternVL's own image processor, which engines use, differs from the checkpoint's; nothing: in nothing.

    Args:
        processor (`VitalProcessor`): of the checkpoint.
    """
    pictures = processor.image_processor
    differences = []
    if pictures.max_tiles > 1 and pictures.tile_rule != "aspect_ratio":
        differences.append(f"the grid is chosen by 'aspect_ratio', not {pictures.tile_rule!r}")
    if pictures.max_tiles > 1 and not pictures.use_thumbnail:
        differences.append("the whole picture follows as a last tile, which the checkpoint leaves out")
    if getattr(processor, "single_tile_copies", 1) > 1:
        differences.append(f"a single tile is shown once, not {processor.single_tile_copies} times")
    return differences


def _vital_config(folder: Path) -> VitalConfig:
    model_type = read_config(folder).get("model_type")
    if model_type == "vital_probe":
        raise ExportError(f"{folder} is a linear probe, which has no decoder: use `--layout onnx`.")
    if model_type != VitalConfig.model_type:
        raise ExportError(f"{folder} is no VITAL checkpoint but a {model_type!r}.")
    return VitalConfig.from_pretrained(folder)


def _write_config(partial: Path, native: InternVLConfig) -> None:
    native.save_pretrained(partial)
    path = partial / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    text = values["text_config"]
    rope = text.get("rope_parameters") or {}
    if "rope_theta" in rope:  # where transformers 4 looks for it; without it, it would take its own default
        text["rope_theta"] = rope["rope_theta"]
        if rope.get("rope_type", "default") != "default":
            text["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    write_json(path, values)


def _generation_config(folder: Path, config: VitalConfig) -> GenerationConfig:
    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder)
    return GenerationConfig.from_model_config(config)


def native_image_processor(pictures: VitalImageProcessor) -> GotOcr2ImageProcessorPil:
    """InternVL's image processor with the same tile size, tile limits and normalisation."""
    size = {"height": pictures.tile_size, "width": pictures.tile_size}
    return GotOcr2ImageProcessorPil(
        size=size,
        crop_to_patches=True,
        min_patches=pictures.min_tiles,
        max_patches=pictures.max_tiles,
        resample=pictures.resample,
        rescale_factor=pictures.rescale_factor,
        image_mean=pictures.image_mean,
        image_std=pictures.image_std,
    )


def _write_processor(partial: Path, processor: VitalProcessor) -> None:
    """The three files `InternVLProcessor` is loaded from, in the form that transformers 4 reads too."""
    native_image_processor(processor.image_processor).save_pretrained(partial)
    path = partial / "preprocessor_config.json"
    pictures = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**pictures, "processor_class": "InternVLProcessor"})
    shared = ("do_convert_rgb", "do_normalize", "do_rescale", "do_resize", "image_mean", "image_std", "resample")
    frames = {name: pictures[name] for name in (*shared, "rescale_factor", "size")}
    kind = {"video_processor_type": "InternVLVideoProcessor", "processor_class": "InternVLProcessor"}
    write_json(partial / "video_preprocessor_config.json", {**frames, **kind})
    settings = {"processor_class": "InternVLProcessor", "image_seq_length": processor.image_seq_length}
    write_json(partial / "processor_config.json", settings)


def _write_tokenizer(partial: Path, folder: Path, processor: VitalProcessor) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = native_chat_template(processor)
    tokenizer.save_pretrained(partial)
    path = partial / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    for name in ("auto_map", "is_local", "local_files_only"):
        settings.pop(name, None)
    settings["processor_class"] = "InternVLProcessor"
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # its name in transformers 4, which engines may have
    # InternVLProcessor asks for these four. It never meets a clip here, but needs a single token to look for.
    settings["extra_special_tokens"] = {
        "start_image_token": processor.start_image_token,
        "end_image_token": processor.end_image_token,
        "context_image_token": processor.image_token,
        "video_token": processor.motion_token,
    }
    write_json(path, settings)


def native_chat_template(processor: VitalProcessor) -> str:
    """The checkpoint's chat template, with InternVL's placeholder for a picture and an error for a clip.

    Raises:
        ExportError: if the template does not place media as ours does.
    """
    if _OUR_PLACEHOLDER not in processor.chat_template:
        raise ExportError(f"The checkpoint's chat template has no {_OUR_PLACEHOLDER!r}: pictures cannot be placed.")
    return processor.chat_template.replace(_OUR_PLACEHOLDER, _NO_CLIPS + processor.image_token)


def _write_weights(folder: Path, partial: Path) -> dict[str, list[int]]:
    """Writes the image side's tensors, shard by shard. Returns the shape of each."""
    sources = _shards(folder)
    names = [name for name, keys in sources.items() if sum(map(_is_image_side, keys))]  # not any(): sees every key
    weight_map: dict[str, str] = {}
    shapes: dict[str, list[int]] = {}
    total_size = 0
    for i, name in enumerate(progress_bar(names, unit="shard"), start=1):
        target = "model.safetensors" if len(names) == 1 else f"model-{i:05d}-of-{len(names):05d}.safetensors"
        try:
            with safe_open(folder / name, "pt") as shard:
                kept = [key for key in shard.keys() if _is_image_side(key)]
                shapes |= {key: shard.get_slice(key).get_shape() for key in kept}
                if len(kept) == len(shard.keys()):
                    shutil.copyfile(folder / name, partial / target)
                else:
                    tensors = {key: shard.get_tensor(key) for key in kept}
                    save_file(tensors, partial / target, metadata={"format": "pt"})
                    del tensors
        except (OSError, SafetensorError) as error:
            raise ExportError(f"The weights in {folder / name} cannot be copied: {error}") from error
        weight_map |= dict.fromkeys(kept, target)
        with (partial / target).open("rb") as file:
            total_size += (partial / target).stat().st_size - 8 - int.from_bytes(file.read(8), "little")  # its header
    if len(names) > 1:
        write_json(partial / INDEX, {"metadata": {"total_size": total_size}, "weight_map": weight_map})
    return shapes


def _shards(folder: Path) -> dict[str, list[str]]:
    """Weight files of a checkpoint, with the keys in each."""
    try:
        if (folder / "model.safetensors").is_file():  # before an index, as transformers has it
            with safe_open(folder / "model.safetensors", "pt") as shard:
                return {"model.safetensors": list(shard.keys())}
        weight_map = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise ExportError(
            f"{folder} has no readable safetensors weights (model.safetensors, or {INDEX} and its shards): {error}"
        ) from error
    shards: dict[str, list[str]] = {}
    for key, name in weight_map.items():
        shards.setdefault(name, []).append(key)
    return shards


def _is_image_side(key: str) -> bool:
    if key.startswith(_IMAGE_SIDE):
        return True
    if key.startswith(_MOTION_SIDE):
        return False
    raise ExportError(f"The checkpoint has the tensor {key!r}, which has no place in VITAL.")


def _check_shapes(native: InternVLConfig, shapes: dict[str, list[int]]) -> None:
    """Compares what was written with the model that transformers will build.

    Raises:
        ExportError: naming the tensors that are missing, too many or of another shape.
    """
    with torch.device("meta"):
        model = InternVL(native)
    expected = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    tied = set(model.all_tied_weights_keys)
    wrong = [key for key, shape in expected.items() if shapes.get(key, None if key not in tied else shape) != shape]
    wrong += sorted(shapes.keys() - expected.keys())
    if wrong:
        raise ExportError(f"{len(wrong)} tensors do not match transformers' InternVL: {', '.join(wrong[:10])}.")
