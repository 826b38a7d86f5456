"""transformers' common tests of processors and image processors."""

import json
import unittest
from pathlib import Path

from modeling_vital import VitalImageProcessor, VitalProcessor, zoo

from .sources import load


processing, pictures = load("test_processing_common"), load("test_image_processing_common")


class ProcessorTest(processing.ProcessorTesterMixin, unittest.TestCase):
    processor_class = VitalProcessor
    model_id = zoo.resolve("vital-tiny")
    images_input_name = "pixel_values"
    videos_input_name = "motion_values"

    @staticmethod
    def prepare_processor_dict():
        own = {"image_processor", "processor_class", "auto_map"}
        settings = json.loads(Path(zoo.resolve("vital-tiny"), "processor_config.json").read_text())
        return {name: value for name, value in settings.items() if name not in own}

    @classmethod
    def _setup_test_attributes(cls, processor):
        cls.image_token, cls.video_token = "<image>", "<video>"


class VitalImageProcessingTester(pictures.ImageProcessingTester):
    def __init__(self, parent, **kwargs):
        super().__init__(parent, **{"tile_size": 18, "max_tiles": 1, **kwargs})

    def _get_image_processing_classes(self):
        return {"pil": VitalImageProcessor}

    def expected_output_image_shape(self, images):
        return 3, self.tile_size, self.tile_size


class ImageProcessorTest(pictures.ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = VitalImageProcessingTester
