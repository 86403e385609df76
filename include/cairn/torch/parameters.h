// Using the tensors of a checkpoint without the job that saved it: transfer, loading, averaging.
#pragma once

#include <cairn/checkpoint.h>
#include <cairn/dtype.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
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

/// How `parameter_transfer` finds and takes tensors.
struct TransferOptions {
  /// From the name of a saved tensor to the module's, e.g. without a prefix; an empty result leaves
  /// the tensor out. Without it names are taken as they are.
  std::function<std::string(const std::string&)> rename = {};
  /// Takes tensors of another dtype, too, where the conversion keeps their kind (integers to
  /// floats, f32 to bf16, but not floats to integers).
  bool convert_dtype = false;
};

/// Loads into `module` every tensor of `recoverable` that fits by name, shape and dtype.
///
/// Not strict: the rest stays as it is and is reported; what `.rename` leaves out is in no list.
/// Every byte is verified before the module changes. Tensors are written in place, on whatever
/// device they are; one that the checkpoint lacks costs nothing.
/// Errors: not_found (no such recoverable); invalid_argument (`.rename` gives one name to several
/// tensors); mismatch (tied parameters with different saved values); damaged, truncated or io: the
/// module is as before.
TransferReport parameter_transfer(torch::nn::Module& module, const Checkpoint& checkpoint,
                                  std::string_view recoverable,
                                  const TransferOptions& options = {});

/// Writes `parameters` into `module`, in place. All or nothing.
///
/// Errors: mismatch, listing every name, shape and dtype that differs.
void load_parameters(torch::nn::Module& module, const ParameterMap& parameters);

/// In which form tensors are read.
struct ReadOptions {
  std::optional<DType> dtype = {};  ///< Converted to it; nothing: as saved.
  std::string device = "cpu";       ///< As LibTorch writes it, e.g. "cuda:0".
};

/// The tensors of one recoverable, verified, in new memory.
/// Errors: not_found; invalid_argument (no such device, or no conversion to that dtype); damaged;
/// truncated; io.
ParameterMap read_parameters(const Checkpoint& checkpoint, std::string_view recoverable,
                             const ReadOptions& options = {});

/// One tensor by its full name, "recoverable/key", verified, in new memory.
///
/// Cost: reads the chunks that hold it and no others.
/// Errors: not_found, naming what there is; otherwise as `read_parameters`.
at::Tensor read_tensor(const Checkpoint& checkpoint, std::string_view name,
                       const ReadOptions& options = {});

/// The rows from `begin` up to, not including, `end` of a tensor's first dimension; otherwise as
/// `read_tensor`.
///
/// Errors: invalid_argument for rows that it does not have, and for a tensor without dimensions.
at::Tensor read_rows(const Checkpoint& checkpoint, std::string_view name, std::int64_t begin,
                     std::int64_t end, const ReadOptions& options = {});

/// How `average_checkpoints` weighs.
struct AverageOptions {
  /// One for each checkpoint, in the same order; they need not add up to 1. Empty: all the same.
  std::vector<double> weights = {};
};

/// The mean of a recoverable's tensors over `checkpoints`.
///
/// Floating and complex tensors are summed in double precision and rounded once; others, such as
/// counters of batches, are those of the first checkpoint given.
/// Memory: one set of tensors, and two tensors in double precision, whatever the count.
/// Errors: invalid_argument (no checkpoints; weights that are too few, too many, negative or add up
/// to nothing); not_found; mismatch, listing every name, shape and dtype in which a checkpoint
/// differs from the first; damaged; truncated; io.
ParameterMap average_checkpoints(const Checkpointer& checkpointer,
                                 std::span<const CheckpointInfo> checkpoints,
                                 std::string_view recoverable, const AverageOptions& options = {});

}  // namespace cairn
