#include "format/names.h"

#include "base/text.h"
#include "format/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace cairn::format {
namespace {

// Words of the tool's command line that select a checkpoint.
constexpr std::string_view kReservedName = "latest";
constexpr std::array<std::string_view, 3> kReservedPrefixes = {"best:", "id:", "name:"};

}  // namespace

std::optional<std::string> recoverable_name_problem(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.size() > kMaxNameBytes) {
    return fmt::format("is {} bytes long; at most {} are allowed", name.size(), kMaxNameBytes);
  }
  if (!base::is_utf8(name)) return "is not UTF-8";
  if (name.find('/') != std::string_view::npos) return "holds a '/'";
  if (base::has_control_characters(name)) return "holds a control character";
  return std::nullopt;
}

std::optional<std::string> checkpoint_name_problem(std::string_view name) {
  if (auto problem = recoverable_name_problem(name)) return problem;
  if (name == kReservedName) return "is a reserved word";
  for (const std::string_view prefix : kReservedPrefixes) {
    if (name.starts_with(prefix)) {
      return fmt::format("begins with \"{}\", which is reserved", prefix);
    }
  }
  return std::nullopt;
}

std::optional<std::string> key_problem(std::string_view key) {
  if (key.size() > kMaxKeyBytes) {
    return fmt::format("is {} bytes long; at most {} are allowed", key.size(), kMaxKeyBytes);
  }
  if (!base::is_utf8(key)) return "is not UTF-8";
  return std::nullopt;
}

namespace {

void throw_if(const std::optional<std::string>& problem, std::string_view what,
              std::string_view name, ErrorCode code) {
  if (problem) throw Error(code, fmt::format("{} {} {}", what, base::quoted(name), *problem));
}

}  // namespace

void validate_checkpoint_name(std::string_view name, ErrorCode code) {
  throw_if(checkpoint_name_problem(name), "checkpoint name", name, code);
}

void validate_recoverable_name(std::string_view name, ErrorCode code) {
  throw_if(recoverable_name_problem(name), "recoverable name", name, code);
}

void validate_key(std::string_view key, std::string_view what, ErrorCode code) {
  throw_if(key_problem(key), what, key, code);
}

std::string free_checkpoint_name(const std::string& wanted, std::set<std::string>& taken) {
  std::string name = wanted;
  for (int copy = 2; !taken.insert(name).second; ++copy) {
    const std::string end = "+" + std::to_string(copy);
    std::size_t kept = std::min(wanted.size(), kMaxNameBytes - end.size());
    // Not within a character.
    while (kept < wanted.size() && (wanted[kept] & 0xC0) == 0x80) --kept;
    name = wanted.substr(0, kept) + end;
  }
  return name;
}

}  // namespace cairn::format
