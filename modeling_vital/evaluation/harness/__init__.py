"""Adapters for lmms-eval (`lmms_eval_model`) and VLMEvalKit (`vlmevalkit_model`); both need `conversations`.

An adapter imports its harness, so none is imported here.
"""
