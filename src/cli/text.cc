#include "text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>

namespace cairn::cli {
namespace {

struct Character {
  char32_t code = 0;
  std::size_t bytes = 0;  // 0: the text does not begin with a well-formed character
};

// Source: The Unicode Standard, table 3-7, "Well-Formed UTF-8 Byte Sequences".
Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) -> char32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const char32_t lead = byte(0);
  if (text.empty()) return {};
  if (lead < 0x80) return {lead, 1};
  const std::size_t bytes = lead < 0xC2   ? 0
                            : lead < 0xE0 ? 2
                            : lead < 0xF0 ? 3
                            : lead < 0xF5 ? 4
                                          : 0;
  if (bytes == 0) return {};
  char32_t code = lead & (0x7FU >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3F);
  }
  constexpr std::array<char32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < kSmallest[bytes] || code > 0x10FFFF || surrogate) return {};
  return {code, bytes};
}

bool in(char32_t code, char32_t first, char32_t last) {
  return code >= first && code <= last;
}

bool is_harmful(char32_t code) {
  return code < 0x20 || in(code, 0x7F, 0x9F) ||         // C0, DEL, C1
         code == 0x061C || in(code, 0x200E, 0x200F) ||  // direction marks
         in(code, 0x2028, 0x202E) || in(code, 0x2066, 0x2069) || code == 0xFEFF;
}

// Approximately, as terminals do it: combining marks 0, East Asian wide characters and emoji 2.
std::size_t columns_of(char32_t code) {
  if (in(code, 0x0300, 0x036F) || in(code, 0x200B, 0x200D) || in(code, 0xFE00, 0xFE0F)) return 0;
  const bool wide = in(code, 0x1100, 0x115F) || in(code, 0x2E80, 0xA4CF) ||
                    in(code, 0xAC00, 0xD7A3) || in(code, 0xF900, 0xFAFF) ||
                    in(code, 0xFE30, 0xFE6F) || in(code, 0xFF00, 0xFF60) ||
                    in(code, 0x1F300, 0x1FAFF) || in(code, 0x20000, 0x3FFFD);
  return wide ? 2 : 1;
}

void append_printable(std::string& out, std::string_view text, const Character& character) {
  if (character.bytes == 0) {
    out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[0]));
  } else if (character.code == '\n') {
    out += "\\n";
  } else if (character.code == '\t') {
    out += "\\t";
  } else if (character.code == '\r') {
    out += "\\r";
  } else if (is_harmful(character.code)) {
    out += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(character.code));
  } else {
    out += text.substr(0, character.bytes);
  }
}

std::size_t step(const Character& character) {
  return std::max<std::size_t>(character.bytes, 1);
}

// Edits (insert, delete, replace, swap neighbours) between two short words.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Character character = first_character(text);
    append_printable(out, text, character);
    text.remove_prefix(step(character));
  }
  return out;
}

std::string quote(std::string_view text, std::size_t max_bytes) {
  std::string out = "\"";
  while (!text.empty()) {
    if (out.size() > max_bytes) return out + "...\"";
    const Character character = first_character(text);
    if (character.code == '"' || character.code == '\\') out += '\\';
    append_printable(out, text, character);
    text.remove_prefix(step(character));
  }
  return out + '"';
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Character character = first_character(text);
    if (character.bytes == 0) return false;
    text.remove_prefix(character.bytes);
  }
  return true;
}

std::size_t display_width(std::string_view text) {
  std::size_t columns = 0;
  while (!text.empty()) {
    const Character character = first_character(text);
    columns += columns_of(character.code);
    text.remove_prefix(step(character));
  }
  return columns;
}

std::string cut_to_width(std::string_view text, std::size_t columns) {
  if (display_width(text) <= columns) return std::string(text);
  if (columns <= 3) return std::string(columns, '.');
  std::string out;
  std::size_t used = 0;
  while (!text.empty()) {
    const Character character = first_character(text);
    used += columns_of(character.code);
    if (used > columns - 3) break;
    out += text.substr(0, step(character));
    text.remove_prefix(step(character));
  }
  return out + "...";
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 7> kUnits = {"B",   "KiB", "MiB", "GiB",
                                                      "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  // 1023.95 would print as "1024.0".
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string new_text(const SaveResult& result) {
  // A chunk of small tensors has a few bytes between them.
  const std::uint64_t bytes = std::min(result.new_bytes, result.saved.logical_bytes);
  const std::string text = human_bytes(bytes) + " new";
  if (result.new_stored_bytes == result.new_bytes) return text;
  return fmt::format("{} (stored in {})", text, human_bytes(result.new_stored_bytes));
}

std::string count_of(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string utc_time(std::int64_t unix_ns) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  std::int64_t seconds = unix_ns / kSecond;
  if (unix_ns % kSecond < 0) --seconds;
  const std::time_t time = seconds;
  std::tm parts{};
  if (gmtime_r(&time, &parts) == nullptr) return std::to_string(seconds);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string shape_text(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::string value_text(const MetaValue& value) {
  if (value.is_bool()) return value.as_bool() ? "true" : "false";
  if (value.is_int()) return std::to_string(value.as_int());
  if (value.is_double()) {
    // A double that looks like an integer shows that it is none.
    std::string text = fmt::format("{}", value.as_double());
    const bool plain = text.find_first_not_of("-0123456789") == std::string::npos;
    return plain ? text + ".0" : text;
  }
  if (value.is_string()) return printable(value.as_string());
  if (value.is_bytes()) return "<" + count_of(value.as_bytes().size(), "byte") + ">";
  std::string text;
  if (value.is_list()) {
    for (const MetaValue& element : value.as_list()) {
      text += (text.empty() ? "" : ", ") + value_text(element);
    }
    return "[" + text + "]";
  }
  for (const auto& [key, element] : value.as_map()) {
    text += (text.empty() ? "" : ", ") + printable(key) + ": " + value_text(element);
  }
  return "{" + text + "}";
}

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
  constexpr std::size_t kLongestWord = 40;
  if (word.size() > kLongestWord) return {};
  std::string_view best;
  std::size_t best_distance = word.size() / 3 + 2;
  for (const std::string_view candidate : candidates) {
    if (candidate.size() > word.size() + best_distance && !candidate.starts_with(word)) continue;
    const bool begins = word.size() >= 2 && candidate.starts_with(word);
    const std::size_t edits = begins ? 1 : distance(word, candidate);
    if (edits < best_distance && edits < candidate.size()) {
      best = candidate;
      best_distance = edits;
    }
  }
  return best;
}

std::vector<std::string> wrap(std::string_view text, std::size_t columns) {
  std::vector<std::string> lines(1);
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > columns) {
      lines.emplace_back();
    }
    if (!lines.back().empty()) lines.back() += ' ';
    lines.back() += word;
  }
  return lines;
}

}  // namespace cairn::cli
