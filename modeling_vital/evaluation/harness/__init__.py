"""The adapter for the evaluation harness lmms-eval (`lmms_eval_model`), and what one for another needs (`chat`).

An adapter imports its harness, so none is imported here.
"""
