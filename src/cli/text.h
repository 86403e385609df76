// Text for people: escaped, measured, with units.
#pragma once

#include <cairn/meta_value.h>
#include <cairn/store.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::cli {

/// The text with everything escaped that could drive a terminal or mislead a reader: control
/// characters, marks that change the direction of text, invalid UTF-8. Always valid UTF-8, one
/// line.
std::string printable(std::string_view text);

/// `printable`, in quotes, cut after about `max_bytes`: for messages.
std::string quote(std::string_view text, std::size_t max_bytes = 120);

/// True for well-formed UTF-8.
bool is_utf8(std::string_view text);

/// Columns that printable text takes on a terminal.
std::size_t display_width(std::string_view text);

/// The beginning of printable text that fits `columns`, marked with "..." where something is cut.
std::string cut_to_width(std::string_view text, std::size_t columns);

/// "1.5 MiB".
std::string human_bytes(std::uint64_t bytes);
/// "12.0 MiB new", and what they take where that is less.
std::string new_text(const SaveResult& result);

/// "3 tensors", "1 tensor".
std::string count_of(std::uint64_t count, std::string_view noun);

/// "2025-11-24 01:52:07Z".
std::string utc_time(std::int64_t unix_ns);

/// "[64, 3]".
std::string shape_text(std::span<const std::int64_t> shape);

/// A value on one line, printable: 0.5, full, [1, 2].
std::string value_text(const MetaValue& value);

/// Of `candidates`, the one that `word` was probably meant to be, or "".
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);

/// Lines of at most `columns`, broken at spaces.
std::vector<std::string> wrap(std::string_view text, std::size_t columns);

}  // namespace cairn::cli
