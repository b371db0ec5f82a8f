"""The ops as functions of Tensors: what layers call.

The mathematics of each stands in `minivit.ops` under the same name, with its derivative beside it.
"""

from minivit import ops
from minivit.tensor import lift

# arithmetic
add = lift(ops.add)
sub = lift(ops.sub)
mul = lift(ops.mul)
div = lift(ops.div)
neg = lift(ops.neg)
pow = lift(ops.pow)
exp = lift(ops.exp)
log = lift(ops.log)
sqrt = lift(ops.sqrt)
tanh = lift(ops.tanh)
sin = lift(ops.sin)
cos = lift(ops.cos)
erf = lift(ops.erf)
maximum = lift(ops.maximum)
where = lift(ops.where)

# sums over axes
sum = lift(ops.sum)
mean = lift(ops.mean)
max = lift(ops.max)
max_pool2d = lift(ops.max_pool2d)
avg_pool2d = lift(ops.avg_pool2d)
var = lift(ops.var)

# moving elements
reshape = lift(ops.reshape)
transpose = lift(ops.transpose)
getitem = lift(ops.getitem)
select = lift(ops.select)
embedding = lift(ops.embedding)
rotate = lift(ops.rotate)
concat = lift(ops.concat)
pad = lift(ops.pad)
broadcast_to = lift(ops.broadcast_to)
resize = lift(ops.resize)
roll = lift(ops.roll)

# products
matmul = lift(ops.matmul)
linear = lift(ops.linear)
linear_gelu = lift(ops.linear_gelu)
attention = lift(ops.attention)
attend = lift(ops.attend)
conv2d = lift(ops.conv2d)

# whole rows
softmax = lift(ops.softmax)
log_softmax = lift(ops.log_softmax)
layer_norm = lift(ops.layer_norm)
rms_norm = lift(ops.rms_norm)
group_norm = lift(ops.group_norm)
batch_norm = lift(ops.batch_norm)
standardise = lift(ops.standardise)

# nonlinearities
gelu = lift(ops.gelu)
relu = lift(ops.relu)
silu = lift(ops.silu)
swiglu = lift(ops.swiglu)
sigmoid = lift(ops.sigmoid)

# noise
dropout = lift(ops.dropout)
drop_path = lift(ops.drop_path)

# losses
cross_entropy = lift(ops.cross_entropy)
sigmoid_cross_entropy = lift(ops.sigmoid_cross_entropy)
