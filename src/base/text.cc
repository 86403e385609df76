#include "base/text.h"

#include <cstddef>
#include <cstdint>

namespace cairn::base {
namespace {

struct Decoded {
  char32_t code_point = 0;
  std::size_t bytes = 0;  // 0: the text does not begin with a well-formed character
};

// Source: The Unicode Standard, table 3-7, "Well-Formed UTF-8 Byte Sequences".
Decoded decode(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) -> std::uint32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const auto continues = [&](std::size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const std::uint32_t first = byte(0);
  if (text.empty()) return {};
  if (first < 0x80) return {first, 1};
  if (first >= 0xC2 && first <= 0xDF && continues(1)) {
    return {(first & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  }
  if (first >= 0xE0 && first <= 0xEF && continues(1) && continues(2)) {
    const char32_t code = (first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    if (code >= 0x800 && !surrogate) return {code, 3};
  }
  if (first >= 0xF0 && first <= 0xF4 && continues(1) && continues(2) && continues(3)) {
    const char32_t code =
        (first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
    if (code >= 0x10000 && code <= 0x10FFFF) return {code, 4};
  }
  return {};
}

bool is_control(char32_t code) noexcept {
  return code < 0x20 || (code >= 0x7F && code <= 0x9F);
}

// Line separators and marks that change the direction of text: they can make a message lie.
bool misleads(char32_t code) noexcept {
  return code == 0x2028 || code == 0x2029 || code == 0x200E || code == 0x200F ||
         (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

void append_hex(std::string& out, std::uint32_t value, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    out += "0123456789abcdef"[value >> shift & 0xF];
  }
}

void append_escaped(std::string& out, char32_t code) {
  switch (code) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      break;
  }
  out += "\\u";
  append_hex(out, code, 4);
}

}  // namespace

bool is_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    const std::size_t bytes = decode(text).bytes;
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

bool has_control_characters(std::string_view text) noexcept {
  while (!text.empty()) {
    const Decoded character = decode(text);
    if (character.bytes != 0 && is_control(character.code_point)) return true;
    text.remove_prefix(character.bytes != 0 ? character.bytes : 1);
  }
  return false;
}

std::string quoted(std::string_view text, std::size_t max_bytes) {
  std::string out = "\"";
  while (!text.empty()) {
    if (out.size() > max_bytes) return out + "\"...";
    const Decoded character = decode(text);
    const char32_t code = character.code_point;
    if (character.bytes == 0) {
      out += "\\x";
      append_hex(out, static_cast<unsigned char>(text[0]), 2);
    } else if (code == '"' || code == '\\' || is_control(code) || misleads(code)) {
      append_escaped(out, code);
    } else {
      out += text.substr(0, character.bytes);
    }
    text.remove_prefix(character.bytes != 0 ? character.bytes : 1);
  }
  return out + '"';
}

}  // namespace cairn::base
