"""Language models: base models in memory, adapter files and tensors, chat prompts, the engine that runs many adapters.

    adapter_file      what an adapter folder contains, without torch
    adapter_tensors   its factors as tensors, read and written
    adapter_writer    the same written module by module
    model_file        what a full model's folder contains, without torch
    bundled           the default base, unpacked from a Python package
    base_folder       which folders may be loaded as a base
    load              a base in memory
    prompts           chat messages to tokens
    engine            several blends of adapters answering at once on one base

Nothing is imported here, so that `import medley.lm` stays cheap.
"""
