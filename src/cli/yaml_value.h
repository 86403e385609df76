// Plain data in YAML, as Python's yaml.dump writes it.
#pragma once

#include <cairn/meta_value.h>

#include <filesystem>
#include <optional>
#include <string_view>

namespace cairn::cli {

/// The value of a document, or nothing for null and an empty one.
///
/// Maps with scalar keys, lists and scalars; scalars have the type that PyYAML gives them, but that
/// times stay text. Null elements are left out. Refused by name: tags that make Python objects,
/// aliases, several documents, numbers in bases other than ten or of more than 64 bits, nesting
/// deeper than values may.
/// Errors: invalid_argument, with `file` and the line.
std::optional<MetaValue> parse_yaml(std::string_view text, const std::filesystem::path& file);

}  // namespace cairn::cli
