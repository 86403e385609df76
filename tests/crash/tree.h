// The contents of a directory, held in memory.
#pragma once

#include "base/digest.h"
#include "crash/event_log.h"

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace cairn::crash {

/// Paths are relative to the directory, with '/' between names.
struct Tree {
  std::set<std::string> directories{};
  std::map<std::string, Bytes> files{};
  friend bool operator==(const Tree&, const Tree&) = default;
};

/// Equal for equal trees.
base::Digest128 digest_of(const Tree& tree);

/// What stands in a real directory; paths that `ignore` accepts are left out.
Tree read_tree(const std::filesystem::path& directory,
               const std::function<bool(std::string_view path)>& ignore = {});
/// Makes a real directory hold the tree and nothing else.
void write_tree(const Tree& tree, const std::filesystem::path& directory);

/// The text of a store's lock file is advice, and nobody flushes it.
bool is_advice(std::string_view name);
/// What LMDB keeps in its lock file lasts as long as its processes, and is left out of logs.
bool is_left_out(std::string_view path);

/// What the directory holds when every event has happened.
Tree replay(const EventLog& log);
/// Events that make a tree out of nothing, durably.
EventLog log_of(const Tree& tree);

}  // namespace cairn::crash
