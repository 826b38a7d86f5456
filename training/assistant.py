"""Assistant: fine-tuning on instructions, of the whole model or, with --lora_rank, through adapters.

    accelerate launch training/assistant.py --config training/recipes/assistant_24gb.yaml \\
        --model MODEL --dataset DATA

Here the questions of the data are kept (prompt_decoupling is off) and text is learned with plain cross-entropy
(focal_beta 0). With adapters, output_dir has the merged model, and the adapter alone in `adapter`.

The same command resumes a run that was stopped.
"""

import sys


if __name__ == "__main__":
    import checkout  # noqa: F401  beside this file

    from training.run import main

    sys.exit(main("assistant", __doc__))
