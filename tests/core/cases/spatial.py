"""Operations over pictures: convolution, pooling, normalisation, resampling, regions."""

from tests.core.bench import apart, case, fixed, normal, positive

X4 = (2, 3, 5, 4)

CONVOLUTION = [
    case(
        "conv1d",
        lambda F, x, w, b: F.conv1d(x, w, b, stride=2, padding=1),
        normal(2, 3, 7),
        normal(4, 3, 3),
        normal(4),
    ),
    case(
        "conv1d", lambda F, x, w: F.conv1d(x, w), normal(1, 1, 3), normal(1, 1, 3), label="smallest"
    ),
    case(
        "conv2d", lambda F, x, w, b: F.conv2d(x, w, b), normal(*X4), normal(4, 3, 3, 3), normal(4)
    ),
    case(
        "conv2d",
        lambda F, x, w: F.conv2d(x, w, stride=(2, 3), padding=(1, 2)),
        normal(2, 3, 7, 5),
        normal(2, 3, 3, 2),
        label="stride",
    ),
    case(
        "conv2d",
        lambda F, x, w: F.conv2d(x, w, padding=2, dilation=(2, 1)),
        normal(1, 2, 5, 6),
        normal(3, 2, 3, 3),
        label="dilation",
    ),
    case(
        "conv2d",
        lambda F, x, w, b: F.conv2d(x, w, b, padding="same"),
        normal(1, 1, 5, 5),
        normal(1, 1, 3, 3),
        normal(1),
        label="same",
    ),
    case(
        "conv2d",
        lambda F, x, w, b: F.conv2d(x, w, b, groups=2, padding=1),
        normal(2, 4, 5, 4),
        normal(6, 2, 3, 3),
        normal(6),
        label="groups",
    ),
    case(
        "conv2d",
        lambda F, x, w: F.conv2d(x, w, groups=3),
        normal(2, 3, 4, 4),
        normal(3, 1, 3, 3),
        label="depthwise",
    ),
    case(
        "conv2d",
        lambda F, x, w: F.conv2d(x, w),
        normal(2, 3, 4, 4),
        normal(5, 3, 1, 1),
        label="1x1",
    ),
    case(
        "conv2d_relu",
        lambda F, x, w, b: F.conv2d_relu(x, w, b, padding=1),
        normal(*X4),
        normal(4, 3, 3, 3),
        normal(4),
    ),
    case(
        "conv3d",
        lambda F, x, w, b: F.conv3d(x, w, b, stride=(1, 2, 1), padding=1),
        normal(1, 2, 4, 5, 3),
        normal(3, 2, 2, 3, 3),
        normal(3),
    ),
    case(
        "conv_transpose2d",
        lambda F, x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1),
        normal(2, 3, 4, 5),
        normal(3, 2, 3, 3),
        normal(2),
    ),
    case(
        "conv_transpose2d",
        lambda F, x, w: F.conv_transpose2d(x, w),
        normal(1, 1, 1, 1),
        normal(1, 1, 2, 2),
        label="smallest",
    ),
    case(
        "conv_transpose2d",
        lambda F, x, w: F.conv_transpose2d(x, w, stride=3, output_padding=(1, 2), groups=2),
        normal(2, 4, 3, 2),
        normal(4, 3, 2, 3),
        label="groups",
    ),
    case(
        "conv_transpose2d",
        lambda F, x, w: F.conv_transpose2d(x, w, stride=2, padding=1, dilation=2),
        normal(1, 2, 3, 3),
        normal(2, 2, 2, 3),
        label="dilation",
    ),
]

POOLING = [
    case("max_pool2d", lambda F, x: F.max_pool2d(x, 2), apart(*X4)),
    case("max_pool2d", lambda F, x: F.max_pool2d(x, 3, 2, 1), apart(2, 3, 7, 6), label="overlap"),
    case(
        "max_pool2d",
        lambda F, x: F.max_pool2d(x, (2, 3), (1, 2), (1, 0), dilation=(2, 1)),
        apart(1, 2, 6, 5),
        label="dilation",
    ),
    case(
        "max_pool2d",
        lambda F, x: F.max_pool2d(x, 2, ceil_mode=True, return_indices=True),
        apart(1, 1, 5, 5),
        label="indices",
    ),
    case(
        "max_pool2d",
        lambda F, x: F.max_pool2d(x, 3, 3, 1, ceil_mode=True),
        apart(2, 2, 5, 6),
        label="ceil",
    ),
    case("avg_pool2d", lambda F, x: F.avg_pool2d(x, 2), normal(*X4)),
    case("avg_pool2d", lambda F, x: F.avg_pool2d(x, 3, 2, 1), normal(2, 3, 7, 6), label="padding"),
    case(
        "avg_pool2d",
        lambda F, x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
        normal(2, 3, 6, 5),
        label="without padding",
    ),
    case(
        "avg_pool2d",
        lambda F, x: F.avg_pool2d(x, (2, 3), (3, 1), ceil_mode=True, divisor_override=5),
        normal(1, 2, 6, 5),
        label="divisor",
    ),
    case("adaptive_avg_pool2d", lambda F, x: F.adaptive_avg_pool2d(x, 1), normal(*X4)),
    case(
        "adaptive_avg_pool2d",
        lambda F, x: F.adaptive_avg_pool2d(x, (3, None)),
        normal(1, 2, 7, 5),
        label="bins",
    ),
    case(
        "adaptive_avg_pool2d",
        lambda F, x: F.adaptive_avg_pool2d(x, 5),
        normal(1, 1, 3, 4),
        label="up",
    ),
    case(
        "max_unpool2d",
        lambda F, x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
        apart(2, 3, 4, 6),
    ),
    case(
        "max_unpool2d",
        lambda F, x, i: F.max_unpool2d(x, i, 2, output_size=(2, 5)),
        normal(1, 1, 1, 2),
        fixed([[[[6, 3]]]]),
        label="size",
    ),
]

RESAMPLING = [
    case("interpolate", lambda F, x: F.interpolate(x, scale_factor=2), normal(*X4)),
    case("interpolate", lambda F, x: F.interpolate(x, (3, 7)), normal(*X4), label="size"),
    case(
        "interpolate",
        lambda F, x: F.interpolate(x, (9, 3), mode="bilinear"),
        normal(*X4),
        label="bilinear",
    ),
    case(
        "interpolate",
        lambda F, x: F.interpolate(x, (9, 3), mode="bilinear", align_corners=True),
        normal(*X4),
        label="corners",
    ),
    case(
        "interpolate",
        lambda F, x: F.interpolate(x, scale_factor=(1.7, 0.6), mode="bilinear"),
        normal(1, 1, 5, 6),
        label="scale",
    ),
    case(
        "interpolate",
        lambda F, x: F.interpolate(x, (1, 4), mode="bilinear", align_corners=True),
        normal(1, 2, 1, 1),
        label="one pixel",
    ),
]

STATISTICS = (normal(3, grad=False), positive(3, grad=False))

NORMALISATION = (
    [
        case(
            name,
            lambda F, x, m, v, w, b, name=name: getattr(F, name)(x, m, v, w, b),
            normal(*X4),
            *STATISTICS,
            normal(3),
            normal(3),
        )
        for name in ("batch_norm", "batch_norm_relu")
    ]
    + [
        case(
            name,
            lambda F, x, w, b, name=name: getattr(F, name)(x, None, None, w, b, training=True),
            normal(*X4),
            normal(3),
            normal(3),
            label="training",
        )
        for name in ("batch_norm", "batch_norm_relu")
    ]
    + [
        case(
            "batch_norm_relu",
            lambda F, x, w, b, s: F.batch_norm_relu(x, None, None, w, b, training=True, shortcut=s),
            normal(*X4),
            normal(3),
            normal(3),
            normal(*X4),
            label="training, shortcut",
        ),
        case(
            "batch_norm_relu",
            lambda F, x, m, v, s: F.batch_norm_relu(x, m, v, shortcut=s),
            normal(*X4),
            *STATISTICS,
            normal(*X4),
            label="shortcut",
        ),
        case(
            "batch_norm",
            lambda F, x, m, v: F.batch_norm(x, m, v, eps=1e-3),
            normal(5, 3),
            *STATISTICS,
            label="plain",
        ),
        case(
            "batch_norm",
            lambda F, x: F.batch_norm(x, None, None, training=True),
            normal(4, 2),
            label="rows",
        ),
        case(
            "batch_norm",
            lambda F, x, w: F.batch_norm(x, None, None, w, training=True),
            normal(1, 1, 3, 3),
            normal(1),
            label="one channel",
        ),
        case(
            "layer_norm",
            lambda F, x, w, b: F.layer_norm(x, (5, 4), w, b),
            normal(*X4),
            normal(5, 4),
            normal(5, 4),
        ),
        case("layer_norm", lambda F, x: F.layer_norm(x, (6,)), normal(2, 3, 6), label="plain"),
        case(
            "group_norm",
            lambda F, x, w, b: F.group_norm(x, 2, w, b),
            normal(2, 4, 3, 5),
            normal(4),
            normal(4),
        ),
        case("group_norm", lambda F, x: F.group_norm(x, 1), normal(2, 3, 4), label="one group"),
        case("instance_norm", lambda F, x: F.instance_norm(x), normal(*X4)),
        case(
            "instance_norm",
            lambda F, x, w, b: F.instance_norm(x, weight=w, bias=b),
            normal(1, 2, 7),
            normal(2),
            normal(2),
            label="weight",
        ),
        case("local_response_norm", lambda F, x: F.local_response_norm(x, 5), normal(2, 7, 3, 4)),
        case(
            "local_response_norm",
            lambda F, x: F.local_response_norm(x, 2, alpha=0.5, beta=0.6, k=2.0),
            normal(1, 4, 3, 2),
            label="strong",
        ),
    ]
)

CASES = [*CONVOLUTION, *POOLING, *RESAMPLING, *NORMALISATION]
