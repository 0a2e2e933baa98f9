"""Operations on tensors: forward and hand-written backward side by side, a file per family."""

from core.functional.activation import (
    dropout,
    elu,
    leaky_relu,
    log_softmax,
    relu,
    sigmoid,
    softmax,
    softplus,
    tanh,
)
from core.functional.arithmetic import (
    abs,
    add,
    cast,
    clamp,
    div,
    eq,
    exp,
    ge,
    gt,
    le,
    log,
    logical_and,
    logical_not,
    logical_or,
    lt,
    matmul,
    maximum,
    minimum,
    mul,
    ne,
    neg,
    pow,
    sqrt,
    sub,
    to_device,
    where,
)
from core.functional.conv import conv1d, conv2d, conv2d_relu, conv3d, conv_transpose2d
from core.functional.linear import linear, linear_relu
from core.functional.loss import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    hinge_loss,
    huber_loss,
    l1_loss,
    mse_loss,
    multi_margin_loss,
    nll_loss,
    smooth_l1_loss,
)
from core.functional.norm import (
    batch_norm,
    batch_norm_relu,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
)
from core.functional.pool import adaptive_avg_pool2d, avg_pool2d, max_pool2d, max_unpool2d
from core.functional.recurrent import (
    gru,
    gru_layer,
    lstm,
    lstm_layer,
    rnn_layer,
    rnn_relu,
    rnn_tanh,
)
from core.functional.reduction import (
    amax,
    amin,
    argmax,
    argmin,
    logsumexp,
    max,
    mean,
    min,
    std,
    sum,
    var,
)
from core.functional.region import roi_align, roi_pool
from core.functional.resample import interpolate
from core.functional.shape import (
    cat,
    chunk,
    embedding,
    expand,
    flatten,
    flip,
    getitem,
    one_hot,
    pad,
    permute,
    reshape,
    split,
    squeeze,
    stack,
    transpose,
    unsqueeze,
)
from core.functional.texture import gram_matrix
