"""The initializations that the page offers, by name, and what each is called there."""

# Those of tfinit.models.initializations that fit a network of dense layers, and two with a number.
# Left out: delta_orthogonal (convolutions), fixup and depth_scaled (residual branches), metainit
# (its descent takes seconds, which the other panes would wait).
LABELS: dict[str, str] = {
    "zeros": "Zeros",
    "constant": "Constant",
    "normal": "Normal",
    "xavier": "Xavier (Glorot)",
    "he": "He",
    "lecun": "LeCun",
    "orthogonal": "Orthogonal",
    "lsuv": "LSUV, from data",
    "autoinit": "AutoInit",
    "krahenbuhl": "Krähenbühl, from data",
    "weightnorm_data": "Weight normalization, from data",
    "alexnet": "AlexNet",
    "keras": "Keras default",
    "glorot_normal": "Keras glorot_normal",
    "glorot_uniform": "Keras glorot_uniform",
    "he_normal": "Keras he_normal",
    "he_uniform": "Keras he_uniform",
    "lecun_normal": "Keras lecun_normal",
    "lecun_uniform": "Keras lecun_uniform",
    "random_normal": "Keras random_normal",
    "random_uniform": "Keras random_uniform",
    "truncated_normal": "Keras truncated_normal",
    "ones": "Ones",
    "EdgeOfChaos": "tfinit EdgeOfChaos",
    "He": "tfinit He",
    "Identity": "tfinit Identity",
    "LeCun": "tfinit LeCun",
    "Orthogonal": "tfinit Orthogonal",
    "Sparse": "tfinit Sparse",
    "Xavier": "tfinit Xavier",
    "ZerO": "tfinit ZerO",
}
INITIALIZATIONS = tuple(LABELS)
