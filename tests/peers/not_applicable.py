"""Tests of transformers that cannot apply to our classes, each with its reason."""

_NO_MIXIN = "GenerationTesterMixin is not in the source distribution; tests/peers/test_generation.py tests `generate`"
_NO_STEPS = (
    "sets `do_rescale` or `do_normalize`: the steps cannot be switched off, and the processor refuses to ignore it"
)
_OWN_FRAMES = "sets `do_sample_frames`: frames are chosen by `frame_sampling`, and the processor refuses to ignore it"
_AUTO_MAP = "a saved processor names the code that is saved beside it (`auto_map`), which the loaded one does not keep"

NOT_APPLICABLE = {
    "test_models.py::PictureTest::test_generation_tester_mixin_inheritance": _NO_MIXIN,
    "test_models.py::ClipTest::test_generation_tester_mixin_inheritance": _NO_MIXIN,
    "test_processors.py::ProcessorTest::test_doubly_passed_kwargs_0_images": _NO_STEPS,
    "test_processors.py::ProcessorTest::test_kwargs_overrides_default_subprocessor_kwargs_0_images": _NO_STEPS,
    "test_processors.py::ProcessorTest::test_save_load_pretrained_additional_features": _NO_STEPS,
    "test_processors.py::ProcessorTest::test_structured_kwargs_nested_from_dict_0_images": _NO_STEPS,
    "test_processors.py::ProcessorTest::test_unstructured_kwargs_0_images": _NO_STEPS,
    "test_processors.py::ProcessorTest::test_unstructured_kwargs_batched_0_images": _NO_STEPS,
    "test_processors.py::ProcessorTest::test_subprocessor_defaults_preserved_by_kwargs_0_images": (
        "sets `rescale_factor` to -1, which the image processor refuses"
    ),
    "test_processors.py::ProcessorTest::test_apply_chat_template_image_0": _OWN_FRAMES,
    "test_processors.py::ProcessorTest::test_apply_chat_template_image_1": _OWN_FRAMES,
    "test_processors.py::ProcessorTest::test_flat_kwarg_applied_when_modality_dict_lacks_it": _OWN_FRAMES,
    "test_processors.py::ProcessorTest::test_model_input_names": _OWN_FRAMES,
    "test_processors.py::ProcessorTest::test_apply_chat_template_assistant_mask": (
        "replaces `replace_image_token`; our text depends on the item (`media_text`). Masks and offsets are tested "
        "in tests/modeling_vital/test_processing.py"
    ),
    "test_processors.py::ProcessorTest::test_replacement_offsets": "replaces `replace_image_token`, as above",
    "test_processors.py::ProcessorTest::test_args_overlap_kwargs": (
        "overrides an attribute that the image processor does not have, which it refuses"
    ),
    "test_processors.py::ProcessorTest::test_init_arguments_not_in_processor_kwargs": (
        "settings for clips are the processor's own, since there is no video processor, and a call may change them"
    ),
    "test_processors.py::ProcessorTest::test_processor_with_multiple_inputs": (
        "leaves a placeholder without its media, which the processor refuses"
    ),
    "test_processors.py::ProcessorTest::test_processor_from_and_save_pretrained": _AUTO_MAP,
    "test_processors.py::ProcessorTest::test_processor_from_and_save_pretrained_as_nested_dict": _AUTO_MAP,
    "test_processors.py::ImageProcessorTest::test_call_numpy_4_channels": (
        "sets `input_data_format` and `do_convert_rgb`: everything becomes RGB, alpha over white"
    ),
    "test_processors.py::ImageProcessorTest::test_image_processor_from_dict_with_kwargs_has_attributes": (
        "sets `do_convert_rgb`, as above"
    ),
    "test_processors.py::ImageProcessorTest::test_new_models_require_torchvision_backend": (
        "tiles are cut with Pillow alone, so that scores do not depend on whether torchvision is installed"
    ),
}
"""Name of the test, as pytest writes it, within this folder -> why it cannot apply."""
