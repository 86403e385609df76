#include "crash/tree.h"

#include "crash/crash_states.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <stdexcept>
#include <sys/stat.h>
#include <unistd.h>

namespace cairn::crash {
namespace {

[[noreturn]] void fail(const std::string& what, const std::filesystem::path& path) {
  throw std::runtime_error(what + " " + path.string() + ": " + std::strerror(errno));
}

Bytes read_bytes(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (descriptor < 0 || ::fstat(descriptor, &status) != 0) fail("cannot read", path);
  Bytes bytes(static_cast<std::size_t>(status.st_size));
  if (::pread(descriptor, bytes.data(), bytes.size(), 0) != status.st_size)
    fail("cannot read", path);
  ::close(descriptor);
  return bytes;
}

void write_bytes(const std::filesystem::path& path, const Bytes& bytes) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0 ||
      ::pwrite(descriptor, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    fail("cannot write", path);
  }
  ::close(descriptor);
}

}  // namespace

base::Digest128 digest_of(const Tree& tree) {
  Bytes summary;
  const auto add = [&](const void* data, std::size_t bytes) {
    const auto* first = static_cast<const std::byte*>(data);
    summary.insert(summary.end(), first, first + bytes);
  };
  for (const std::string& directory : tree.directories)
    add(directory.c_str(), directory.size() + 1);
  for (const auto& [path, bytes] : tree.files) {
    add(path.c_str(), path.size() + 1);
    const std::uint64_t length = bytes.size();
    add(&length, sizeof(length));
    const base::Digest128 digest = base::xxh3_128(bytes);
    add(&digest, sizeof(digest));
  }
  return base::xxh3_128(summary);
}

Tree read_tree(const std::filesystem::path& directory,
               const std::function<bool(std::string_view)>& ignore) {
  Tree tree;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    const std::string path = entry.path().lexically_relative(directory).string();
    if (ignore && ignore(path)) continue;
    if (entry.is_directory()) {
      tree.directories.insert(path);
    } else {
      tree.files[path] = read_bytes(entry.path());
    }
  }
  return tree;
}

void write_tree(const Tree& tree, const std::filesystem::path& directory) {
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  for (const std::string& path : tree.directories)
    std::filesystem::create_directory(directory / path);
  for (const auto& [path, bytes] : tree.files) write_bytes(directory / path, bytes);
}

bool is_advice(std::string_view name) {
  return name == "lock";
}

bool is_left_out(std::string_view path) {
  return path.ends_with("-lock");
}

Tree replay(const EventLog& log) {
  Disk disk(NameRule::kStrict);
  for (const Event& event : log) disk.apply(event);
  return disk.state(Choice(disk.unit_count(), true));
}

EventLog log_of(const Tree& tree) {
  EventLog log;
  std::map<std::string, Node> nodes;
  Node next = kTop + 1;
  const auto add = [&](EventKind kind, const std::string& path) {
    const std::size_t slash = path.rfind('/');
    const Node directory = slash == std::string::npos ? kTop : nodes.at(path.substr(0, slash));
    const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    nodes[path] = next;
    log.push_back({.kind = kind, .node = next, .directory = directory, .name = name});
    return next++;
  };
  for (const std::string& path : tree.directories) add(EventKind::kMakeDirectory, path);
  for (const auto& [path, bytes] : tree.files) {
    const Node node = add(EventKind::kCreate, path);
    log.push_back({.kind = EventKind::kWrite, .node = node, .bytes = bytes.size(), .data = bytes});
    log.push_back({.kind = EventKind::kSync, .node = node});
  }
  log.push_back({.kind = EventKind::kSyncDirectory, .node = kTop});
  for (const std::string& path : tree.directories) {
    log.push_back({.kind = EventKind::kSyncDirectory, .node = nodes.at(path)});
  }
  return log;
}

}  // namespace cairn::crash
