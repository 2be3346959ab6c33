"""Every optimizer of torch, optax, Keras, timm and pytorch_optimizer as installed, run through the oracle by itself."""
