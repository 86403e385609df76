// What the system says of itself: file systems, host, process, clock, random bytes.
#include "io/failure.h"
#include "io/file.h"

#include <array>
#include <chrono>
#include <linux/magic.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace cairn::io {
namespace {

struct NetworkFileSystem {
  std::uint32_t magic;
  std::string_view name;
};

// Numbers without a name in <linux/magic.h> are those of statfs(2) or of the project's own headers.
// FUSE is not among them: it serves local disks as well as remote ones and does not say which.
constexpr std::array kNetworkFileSystems = {
    NetworkFileSystem{NFS_SUPER_MAGIC, "nfs"},   NetworkFileSystem{SMB_SUPER_MAGIC, "smb"},
    NetworkFileSystem{0xFF534D42, "cifs"},       NetworkFileSystem{0xFE534D42, "smb2"},
    NetworkFileSystem{CODA_SUPER_MAGIC, "coda"}, NetworkFileSystem{AFS_SUPER_MAGIC, "afs"},
    NetworkFileSystem{AFS_FS_MAGIC, "afs"},      NetworkFileSystem{NCP_SUPER_MAGIC, "ncp"},
    NetworkFileSystem{0x00C36400, "ceph"},       NetworkFileSystem{V9FS_MAGIC, "9p"},
    NetworkFileSystem{0x0BD00BD0, "lustre"},     NetworkFileSystem{0x47504653, "gpfs"},
    NetworkFileSystem{0x01161970, "gfs2"},       NetworkFileSystem{OCFS2_SUPER_MAGIC, "ocfs2"},
    NetworkFileSystem{0x19830326, "beegfs"},     NetworkFileSystem{0xAAD7AAEA, "panfs"},
};

struct statfs file_system_of(const std::filesystem::path& path) {
  struct statfs status {};
  if (retry_interrupted([&] { return ::statfs(path.c_str(), &status); }) != 0) {
    fail(errno, "cannot inspect the file system", path);
  }
  return status;
}

}  // namespace

std::optional<std::string_view> network_file_system(const std::filesystem::path& path) {
  const auto magic = static_cast<std::uint32_t>(file_system_of(path).f_type);
  for (const NetworkFileSystem& known : kNetworkFileSystems) {
    if (known.magic == magic) return known.name;
  }
  return std::nullopt;
}

bool on_read_only_file_system(const std::filesystem::path& path) {
  return (file_system_of(path).f_flags & ST_RDONLY) != 0;
}

bool on_memory_file_system(const std::filesystem::path& path) {
  const auto magic = static_cast<std::uint32_t>(file_system_of(path).f_type);
  return magic == TMPFS_MAGIC || magic == RAMFS_MAGIC;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

std::int64_t process_id() {
  return ::getpid();
}

void fill_random(std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t got = retry_interrupted([&] { return ::getrandom(out.data(), out.size(), 0); });
    if (got < 0) fail(errno, "cannot get random bytes from the system", {});
    out = out.subspan(static_cast<std::size_t>(got));
  }
}

std::int64_t unix_time_ns() {
  using std::chrono::duration_cast, std::chrono::nanoseconds, std::chrono::system_clock;
  return duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count();
}

}  // namespace cairn::io
