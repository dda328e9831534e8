"""Formats of files: how a user's own rows, images and token ids are read.

A module each: `csv`, `jsonl`, `parquet`, `npz`, `image_folder`, `token_files`, `huggingface`, and, for fetched data
sets, `rda` and `sword`; these never import each other. What they share: `paths` (the files of a recipe's paths),
`columns` (its fields), `rows` (the rows of a file), `tables` (rows as examples), `targets`, `arrow` and `images`.
"""
