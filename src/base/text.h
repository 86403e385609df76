// Text from files and callers: validation, and a form that is safe to show.
#pragma once

#include <string>
#include <string_view>

namespace cairn::base {

/// True for well-formed UTF-8 (no overlong forms, no surrogates, at most U+10FFFF).
bool is_utf8(std::string_view text) noexcept;

/// True when the text holds a C0 or C1 control character or DEL (of valid UTF-8).
bool has_control_characters(std::string_view text) noexcept;

/// The text in quotes with control characters, quotes, backslashes and invalid bytes escaped, cut
/// after about `max_bytes`: for messages.
std::string quoted(std::string_view text, std::size_t max_bytes = 120);

}  // namespace cairn::base
