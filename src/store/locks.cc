#include "store/locks.h"

#include "base/text.h"
#include "io/range_lock.h"

#include <cairn/error.h>

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace cairn::store {

namespace {

constexpr std::uint64_t kWriterByte = 0;
constexpr std::uint64_t kHandleByte = 1;

/// How long a handle waits for another one that is being repaired, or is only just opening.
constexpr std::chrono::milliseconds kHandleTimeout{2000};

/// "pid 4711 on node7" as the last writer left it, or a phrase that says that it is unknown.
std::string holder_of(const io::File& file) {
  std::array<std::byte, 512> buffer{};
  const std::size_t got = file.read_some(0, buffer);
  std::string_view text(reinterpret_cast<const char*>(buffer.data()), got);
  text = text.substr(0, text.find('\n'));
  if (!text.starts_with("pid ") || !base::is_utf8(text) || base::has_control_characters(text)) {
    return "an unknown process";
  }
  return std::string(text);
}

void write_holder(const io::File& file) {
  const std::string text =
      "pid " + std::to_string(io::process_id()) + " on " + io::host_name() + "\n";
  try {
    file.write(0, std::as_bytes(std::span(text)));
    file.resize(text.size());
  } catch (const Error&) {
    // Advice only: on a full disk the lock holds all the same.
  }
}

Error repair_in_progress(const io::File& file) {
  return Error(ErrorCode::kBusy,
               "the store is being repaired by " + holder_of(file) + "; try again when it is done",
               {.path = file.path()});
}

}  // namespace

// No fork falls between opening the file and its guard, nor between the guard's end and closing it:
// a child would keep the lock.
StoreLocks::StoreLocks(const std::function<std::optional<io::File>()>& open) {
  const io::HoldForks hold;
  file_ = open();
  if (file_) close_in_child_ = io::CloseInChild(file_->descriptor(), hold);
}

StoreLocks& StoreLocks::operator=(StoreLocks&& other) noexcept {
  if (this != &other) {
    close();
    file_ = std::exchange(other.file_, std::nullopt);
    close_in_child_ = std::move(other.close_in_child_);
  }
  return *this;
}

StoreLocks::~StoreLocks() {
  close();
}

void StoreLocks::close() noexcept {
  const io::HoldForks hold;
  close_in_child_.end(hold);
  file_.reset();
}

StoreLocks StoreLocks::for_reader(const StorePaths& paths) {
  StoreLocks locks([&] { return io::File::open_if_exists(paths.lock, io::File::Access::kRead); });
  if (!locks.file_) {
    throw Error(ErrorCode::kDamaged,
                "the store's lock file is missing; `cairn repair`, or opening the store for "
                "writing, makes it anew",
                {.path = paths.lock});
  }
  if (!io::lock_byte(*locks.file_, kHandleByte, io::LockKind::kShared, kHandleTimeout)) {
    throw repair_in_progress(*locks.file_);
  }
  return locks;
}

StoreLocks StoreLocks::for_writer(const StorePaths& paths, std::chrono::milliseconds timeout) {
  StoreLocks locks([&] { return io::File::open_or_create(paths.lock); });
  if (!io::lock_byte(*locks.file_, kWriterByte, io::LockKind::kExclusive, timeout)) {
    throw Error(ErrorCode::kBusy,
                "the store is open for writing by " + holder_of(*locks.file_) +
                    "; close it there, or wait longer (busy_timeout)",
                {.path = paths.directory});
  }
  write_holder(*locks.file_);
  if (!io::lock_byte(*locks.file_, kHandleByte, io::LockKind::kShared, kHandleTimeout)) {
    throw repair_in_progress(*locks.file_);
  }
  return locks;
}

void StoreLocks::make_exclusive() {
  if (!io::lock_byte(*file_, kHandleByte, io::LockKind::kExclusive, kHandleTimeout)) {
    throw Error(ErrorCode::kBusy,
                "the catalog must be rebuilt, but other handles are open on the store; close them "
                "and try again",
                {.path = file_->path()});
  }
}

void StoreLocks::make_shared() {
  io::lock_byte(*file_, kHandleByte, io::LockKind::kShared);
}

bool StoreLocks::another_writer_is_active() const {
  return file_ && io::byte_is_locked_elsewhere(*file_, kWriterByte);
}

}  // namespace cairn::store
