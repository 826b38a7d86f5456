"""transformers' common tests of models and configurations."""

import unittest
from unittest import mock

import torch

from modeling_vital import (
    VitalConfig,
    VitalForConditionalGeneration,
    VitalForQualityProbe,
    VitalModel,
    VitalProbeConfig,
)
from modeling_vital.configuration_vital import VitalMotionConfig
from tests.fixtures.tiny_models import MOTION, TILE, text_config, vision_config

from .sources import load


common = load("test_modeling_common")
ConfigTester = load("test_configuration_common").ConfigTester

VOCABULARY, IMAGE, MOTION_TOKEN, TOKENS, FRAMES = 99, 4, 5, 4, 4


class VitalModelTester:
    """Small models and inputs: a picture of one tile a row, or a clip of one key frame and four motion frames."""

    def __init__(self, parent, clip=False):
        self.parent, self.clip = parent, clip
        self.batch_size, self.seq_length, self.is_training = 3, 7 + TOKENS + (FRAMES if clip else 0), True
        self.hidden_size, self.num_attention_heads, self.num_hidden_layers = 24, 4, 2
        self.vocab_size = VOCABULARY

    def get_config(self):
        text = text_config("qwen2", VOCABULARY)
        text.pad_token_id, text.bos_token_id, text.eos_token_id = 0, 1, 2
        return VitalConfig(
            vision_config=vision_config("internvl"),
            motion_config=VitalMotionConfig(**MOTION),
            text_config=text,
            image_token_id=IMAGE,
            motion_token_id=MOTION_TOKEN,
            image_seq_length=TOKENS,
        )

    def prepare_config_and_inputs_for_common(self):
        input_ids = common.ids_tensor([self.batch_size, self.seq_length], VOCABULARY - 40) + 6
        input_ids[:, 2 : 2 + TOKENS] = IMAGE
        inputs = {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
            "pixel_values": common.floats_tensor([self.batch_size, 3, TILE, TILE]),
        }
        if self.clip:
            input_ids[:, 2 + TOKENS : 2 + TOKENS + FRAMES] = MOTION_TOKEN
            inputs["motion_values"] = common.floats_tensor([self.batch_size * FRAMES, 3, 16, 16])
            inputs["motion_lengths"] = torch.full((self.batch_size,), FRAMES)
        return self.get_config(), inputs


class PictureTest(common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (VitalModel, VitalForConditionalGeneration)
    _is_composite = True
    test_all_params_have_gradient = False  # the motion encoder sees no picture; the clips are tested with it
    clip = False

    def setUp(self):
        self.model_tester = VitalModelTester(self, self.clip)
        by_heads = mock.patch("modeling_vital.attention_vital.fast_bf16", lambda: False)  # else it depends on the CPU
        by_heads.start()
        self.addCleanup(by_heads.stop)
        if any(name in self._testMethodName for name in ("training", "resize_embeddings_untied")):
            # Classes without a loss or a head are left out by transformers' own list of names, which has not ours.
            self.all_model_classes = (VitalForConditionalGeneration,)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels and model_class is VitalForConditionalGeneration:
            inputs["labels"] = inputs["input_ids"].clone()
        return inputs


class ClipTest(PictureTest):
    test_all_params_have_gradient = True
    clip = True


class ProbeModelTester(VitalModelTester):
    def get_config(self):
        return VitalProbeConfig(vision_config("internvl"), MOTION, feature_layers=[0, 1], head_hidden_size=8)

    def prepare_config_and_inputs_for_common(self):
        inputs = {
            "pixel_values": common.floats_tensor([self.batch_size, 3, TILE, TILE]),
            "num_tiles": torch.ones(self.batch_size, dtype=torch.long),
        }
        if self.clip:
            inputs["num_windows"] = torch.ones(self.batch_size, dtype=torch.long)
            inputs["motion_values"] = common.floats_tensor([self.batch_size * FRAMES, 3, 16, 16])
            inputs["motion_lengths"] = torch.full((self.batch_size,), FRAMES)
        return self.get_config(), inputs


PROBE_HAS_NO = ("training", "hidden_states", "embeddings", "outputs_equivalence", "capture_outputs")


class ProbePictureTest(common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (VitalForQualityProbe,)
    _is_composite = True
    test_resize_embeddings = False
    has_attentions = False
    clip = False

    def setUp(self):
        if any(name in self._testMethodName for name in PROBE_HAS_NO):
            self.skipTest("a probe has no tokens, no loss and no states to give out")
        self.model_tester = ProbeModelTester(self, self.clip)


class ProbeClipTest(ProbePictureTest):
    clip = True


class ConfigTest(unittest.TestCase):
    def setUp(self):
        self.model_tester = VitalModelTester(self)

    def test_config(self):
        ConfigTester(self, config_class=VitalConfig, has_text_modality=False).run_common_tests()

    def test_motion_config(self):
        ConfigTester(
            self, config_class=VitalMotionConfig, has_text_modality=False, common_properties=["hidden_size"]
        ).run_common_tests()

    def test_probe_config(self):
        ConfigTester(self, config_class=VitalProbeConfig, has_text_modality=False).run_common_tests()
