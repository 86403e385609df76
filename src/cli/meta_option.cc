#include "meta_option.h"

#include "failure.h"
#include "text.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <limits>

namespace cairn::cli {
namespace {

bool is_whole_number(std::string_view word) {
  if (word.starts_with('-')) word.remove_prefix(1);
  return !word.empty() && std::all_of(word.begin(), word.end(),
                                      [](unsigned char c) { return std::isdigit(c) != 0; });
}

// from_chars also knows "nan(...)" and "infinity" in any case; of the first only "nan" is meant.
bool may_be_number(std::string_view word) {
  return !word.empty() && word.find('(') == std::string_view::npos;
}

template <typename T>
bool parses(std::string_view word, T& value) {
  const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (end != word.data() + word.size() || problem == std::errc::invalid_argument) return false;
  if (problem == std::errc::result_out_of_range) {
    throw UsageError("the number " + quote(word) +
                     " is out of range; in double quotes it is a string");
  }
  return true;
}

}  // namespace

MetaValue parse_meta_value(std::string_view word) {
  if (word == "true") return true;
  if (word == "false") return false;
  if (word.size() >= 2 && word.front() == '"' && word.back() == '"') {
    return word.substr(1, word.size() - 2);
  }
  std::int64_t integer = 0;
  if (is_whole_number(word) && parses(word, integer)) return integer;
  double number = 0;
  if (may_be_number(word) && parses(word, number)) return number;
  return word;
}

Metadata parse_metadata(std::span<const std::string> words) {
  Metadata metadata;
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw UsageError("--meta takes KEY=VALUE, not " + quote(word));
    }
    std::string key = word.substr(0, equals);
    if (metadata.contains(key)) throw UsageError("--meta gives " + quote(key) + " twice");
    metadata.set(std::move(key), parse_meta_value(std::string_view(word).substr(equals + 1)));
  }
  return metadata;
}

}  // namespace cairn::cli
