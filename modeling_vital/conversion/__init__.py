"""Published weights of other layouts to checkpoints of this package: `vital convert` and what it is made of.

One file a layout (`released`, `probe`, `internvl`, `internvl_hf`, `vision_encoder`; `slowfast` and `decoders` are
parts of them), each a table of key rules, a configuration and a processor. To add one: subclass [`layout.Layout`] in a
file of its own and name it in `registry.LAYOUTS`. Never imported by the files that are copied into checkpoints.
"""
