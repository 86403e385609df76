// Using the tensors of a checkpoint without the job that saved it: transfer, loading, averaging.
#pragma once

#include <cairn/checkpoint.h>

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace at {
class Tensor;
}  // namespace at
namespace torch::nn {
class Module;
}  // namespace torch::nn

namespace cairn {

class Checkpointer;

/// Tensors by name, as a module has them: parameters and buffers under their dotted names.
using ParameterMap = std::map<std::string, at::Tensor>;

/// What `parameter_transfer` did. Names are those of the module, in byte order.
struct TransferReport {
  std::vector<std::string> loaded = {};
  std::vector<std::string> missing = {};     ///< The module has them, the checkpoint has not.
  std::vector<std::string> unexpected = {};  ///< The checkpoint has them, the module has not.
  std::vector<std::string> mismatched = {};  ///< Name, saved and wanted shape and dtype, as text.
};

/// Loads into `module` every tensor of `recoverable` that fits by name, shape and dtype.
///
/// Not strict: the rest stays as it is and is reported. Every byte is verified before the module
/// changes. Tensors are written in place, on whatever device they are.
/// Errors: not_found (no such recoverable); mismatch (tied parameters with different saved values);
/// damaged, truncated or io: the module is as before.
TransferReport parameter_transfer(torch::nn::Module& module, const Checkpoint& checkpoint,
                                  std::string_view recoverable);

/// Writes `parameters` into `module`, in place. All or nothing.
///
/// Errors: mismatch, listing every name, shape and dtype that differs.
void load_parameters(torch::nn::Module& module, const ParameterMap& parameters);

/// The tensors of one recoverable, verified, in new CPU memory.
/// Errors: not_found; damaged; truncated; io.
ParameterMap read_parameters(const Checkpoint& checkpoint, std::string_view recoverable);

/// The mean of a recoverable's tensors over `checkpoints`.
///
/// Floating and complex tensors are summed in double precision and rounded once; others, such as
/// counters of batches, are those of the first checkpoint given.
/// Memory: one set of tensors and one tensor in double precision, whatever the count.
/// Errors: invalid_argument (no checkpoints); not_found; mismatch, listing every name, shape and
/// dtype in which a checkpoint differs from the first; damaged; truncated; io.
ParameterMap average_checkpoints(const Checkpointer& checkpointer,
                                 std::span<const CheckpointInfo> checkpoints,
                                 std::string_view recoverable);

}  // namespace cairn
