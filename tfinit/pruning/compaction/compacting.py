"""`compact`: the same function in a smaller model."""

from typing import Any

from tfinit.deserializing import filled_afterwards
from tfinit.graph.channels import follow
from tfinit.pruning.compaction.followed import check_model
from tfinit.pruning.compaction.liveness import find_live, kept_dead
from tfinit.pruning.compaction.rebuilding import Rebuilder
from tfinit.pruning.compaction.recompiling import compile_alike, cuts_of
from tfinit.pruning.compaction.result import Compaction, Kept, Removed
from tfinit.variables import walk_layers


def compact(model: Any) -> Compaction:
    """Remove the dead units and channels of a model; what it computes stays the same.

    A unit or channel is dead if it is not read, or if it is a constant. It is not read if all its
    outgoing weights are zero, or go to dead units only. It is the constant::

        c_j = f(b_j + Σ_i w_ij · c_i)

    with its activation f, if every nonzero incoming weight comes from a constant; activations and
    BatchNormalization (with its moving statistics; also where γ = 0) carry constants on. A constant
    moves into the bias of each Dense or convolution that reads it, which is given one if it has
    none: ``b_k += Σ w_jk · c_j``, over all positions of a window. So the smaller model's outputs
    differ by rounding only, in inference. In training they may differ: Dropout and the statistics
    of a batch are of fewer channels, and what was removed can no longer learn.

    Followed are Dense, convolutions (in groups, depthwise, separable, transposed too),
    BatchNormalization, GroupNormalization, elementwise activations, PReLU, Dropout and noise,
    pooling, UpSampling, Cropping, ZeroPadding, Flatten, Reshape, Permute, RepeatVector, Embedding,
    EinsumDense, MultiHeadAttention and GroupQueryAttention (whole heads), Attention, LSTM, GRU and
    SimpleRNN, Bidirectional, TimeDistributed, Concatenate, Add, Subtract, Multiply, Average,
    Maximum and Minimum, broadcast or not, those of them that are operations (``a + b``, ``x / 6``,
    ``x[:, 0]``, ``keras.ops.transpose``), channels last or first, and Sequential and functional
    models inside the model; of KerasHub its embeddings, and the feed-forward widths of its blocks.
    Of a layer of your own `register_channel_rule` tells. What goes into any other layer, comes out
    of it, or is an input or output of the model stays. So does

    - a constant other than 0 that goes into a convolution that pads: at the border it is none;
    - a channel added to one that is in use, or read in another call of the same layer;
    - a constant that a layer reads in several calls, if it is not the same in each;
    - what LayerNormalization and its like normalize over, as its mean is over all channels;
    - in a convolution in groups, what is not dead in each of them at the same place;
    - one unit of a layer whose units are all dead.

    Args:
        model: A built Sequential or functional model of Keras 3, with its zeros in its weights:
            after training with `SparseOptimizer`, or whatever made them. It is left as it was. It
            may be of a class of its own that has no ``call`` of its own, like KerasHub's
            backbones.

    Returns:
        The result, with a new model of the same layers' names, inputs and outputs, compiled alike.
        Its optimizer goes on where the given one's is, with what is left of its momenta; of a
        `SparseOptimizer` it is the inner one, and marks of `prune_low_magnitude` are not copied
        either: it is done with pruning. To train it on and keep its zeros, compile it with
        ``tfinit.pruning.hold_zeros(model, optimizer)``. If nothing can be removed the new model is
        a copy, and the result says so. A model of a class that makes its layers itself is copied by
        its class if nothing of it is removed; otherwise it becomes a plain ``keras.Model``, and the
        notes say so. Layers of models inside are reported as ``"inside/dense"``.

    Raises:
        InputError: ``model`` is not a Sequential or functional model of Keras 3, has a ``call`` of
            its own, is not built, or has a layer that cannot be made again from its configuration.

    Example:
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((2,)),
        ...         keras.layers.Dense(3, "relu", name="hidden"),
        ...         keras.layers.Dense(1, name="out"),
        ...     ],
        ...     name="net",
        ... )
        >>> model.set_weights(
        ...     [
        ...         np.array([[1, 0, 1], [1, 0, 1]]), np.array([0, 2, 0]),  # the second: relu(2)
        ...         np.array([[1], [3], [0]]), np.array([4]),  # the third is not read
        ...     ]
        ... )
        >>> compacted = compact(model)
        >>> print(compacted)
        net: 13 → 5 parameters
          hidden  removed 2 of 3
        >>> compacted.model.layers[1].bias.numpy()  # 4 + 3 · 2
        array([10.], dtype=float32)

    Dead filters as in Li et al. 2017, "Pruning Filters for Efficient ConvNets"
    (https://arxiv.org/abs/1608.08710), but only where nothing changes.
    """
    check_model(model)
    channels = follow(model)
    liveness = find_live(channels)
    rebuilder = Rebuilder(channels, liveness)
    with filled_afterwards():
        new = rebuilder.model(model)
    removed = {}
    carriers = [each for each in channels.carriers.values() if hasattr(each.layer, "kernel")]
    for maker in [*channels.mixings.values(), *carriers]:
        dead = int((~liveness.of(maker.made)).sum())
        if dead:
            removed.setdefault(id(maker.layer), (maker.name, Removed(dead, len(maker.made))))
    kept = [Kept(name, 0, why) for name, why in channels.barriers.items()]
    kept += [Kept(*found) for found in kept_dead(channels, liveness)]
    notes = rebuilder.notes + compile_alike(new, model, cuts_of(model, channels, liveness))
    return Compaction(
        new,
        dict(removed[id(layer)] for _, layer in walk_layers(model) if id(layer) in removed),
        tuple(kept),
        model.count_params(),
        new.count_params(),
        tuple(notes),
    )
