// NumPy's format for one array.
#pragma once

#include <cairn/checkpoint.h>

#include <string>

namespace cairn::cli {

/// What stands before the tensor's bytes in a .npy file of version 1.0.
///
/// Errors: Failure for a dtype that NumPy lacks (bf16, c32, eight bits and fewer).
/// Source: NumPy's documentation, "numpy.lib.format", Format Version 1.0.
std::string npy_header(const TensorInfo& tensor);

}  // namespace cairn::cli
