// --meta K=V: how the command line writes metadata.
#pragma once

#include <cairn/meta_value.h>

#include <span>
#include <string>
#include <string_view>

namespace cairn::cli {

/// The value that a word stands for: true and false; a whole number (3, -7); a number (0.5, 1e-3,
/// nan, inf, -inf); anything else is a string. In double quotes it is a string whatever it holds.
/// Errors: UsageError for a number that no i64 or f64 can hold.
MetaValue parse_meta_value(std::string_view word);

/// The metadata of several K=V; the first '=' parts them.
/// Errors: UsageError for a word without '=', an empty key, a key given twice.
Metadata parse_metadata(std::span<const std::string> words);

}  // namespace cairn::cli
