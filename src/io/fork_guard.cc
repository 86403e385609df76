// The steps around a fork:
//
// 1. Before: take the registry's mutex, so that the child gets a whole registry.
// 2. In the parent: give the mutex back.
// 3. In the child, by async-signal-safe calls alone: dup3 the placeholder over every registered
//    descriptor, which drops the child's reference to the open file description and with it the
//    hold on its locks, but keeps the number taken; close the placeholder; empty the registry;
//    count the generation up; give the mutex back.
//
// The placeholder is an eventfd, open while anything is registered: it needs no path (there may be
// no /dev), dup3 of it cannot fail for lack of descriptors, and pread, pwrite and fdatasync on it
// fail, so that a handle used in the child by mistake does not seem to work.
//
// The mutex is a plain one: glibc refuses to let a child unlock a recursive one, whose owner is
// known by the parent's thread id.
#include "io/fork_guard.h"

#include "io/failure.h"

#include <algorithm>
#include <atomic>
#include <fcntl.h>
#include <mutex>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace cairn::io {
namespace {

struct Registry {
  std::mutex mutex;
  std::vector<int> descriptors;
  int placeholder = -1;  // Open while there are descriptors.
  std::atomic<std::uint64_t> generation{0};

  void close_placeholder() noexcept {
    if (placeholder >= 0) ::close(std::exchange(placeholder, -1));
  }
};

// Never destroyed: handles may outlive every static object.
Registry& registry() {
  static Registry& instance = *new Registry;
  return instance;
}

void before_fork() {
  registry().mutex.lock();
}

void after_fork_in_parent() {
  registry().mutex.unlock();
}

void after_fork_in_child() {
  Registry& r = registry();
  for (const int descriptor : r.descriptors) ::dup3(r.placeholder, descriptor, O_CLOEXEC);
  r.descriptors.clear();
  r.close_placeholder();
  r.generation.fetch_add(1, std::memory_order_relaxed);
  r.mutex.unlock();
}

// Zero, or the errno of the one attempt.
int install_handlers() noexcept {
  static const int result = [] {
    registry();
    return ::pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  }();
  return result;
}

void require_handlers() {
  const int system_errno = install_handlers();
  if (system_errno != 0) fail(system_errno, "cannot prepare for forks of this process", {});
}

}  // namespace

std::uint64_t fork_generation() noexcept {
  install_handlers();
  return registry().generation.load(std::memory_order_relaxed);
}

HoldForks::HoldForks() {
  require_handlers();
  registry().mutex.lock();
}

HoldForks::~HoldForks() {
  registry().mutex.unlock();
}

CloseInChild::CloseInChild(int descriptor) : CloseInChild(descriptor, HoldForks()) {}

CloseInChild::CloseInChild(int descriptor, const HoldForks&) {
  Registry& r = registry();
  r.descriptors.reserve(r.descriptors.size() + 1);  // The last step must not fail.
  if (r.placeholder < 0) r.placeholder = ::eventfd(0, EFD_CLOEXEC);
  if (r.placeholder < 0) fail(errno, "cannot prepare for forks of this process", {});
  r.descriptors.push_back(descriptor);
  descriptor_ = descriptor;
  generation_ = r.generation.load(std::memory_order_relaxed);
}

CloseInChild::CloseInChild(CloseInChild&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), generation_(other.generation_) {}

CloseInChild& CloseInChild::operator=(CloseInChild&& other) noexcept {
  if (this != &other) {
    end();
    descriptor_ = std::exchange(other.descriptor_, -1);
    generation_ = other.generation_;
  }
  return *this;
}

CloseInChild::~CloseInChild() {
  end();
}

void CloseInChild::end() noexcept {
  if (descriptor_ >= 0) end(HoldForks());
}

// In a child nothing is left to end: its registry began empty, and the number may be in it again.
void CloseInChild::end(const HoldForks&) noexcept {
  Registry& r = registry();
  const int descriptor = std::exchange(descriptor_, -1);
  if (descriptor < 0 || generation_ != r.generation.load(std::memory_order_relaxed)) return;
  const auto found = std::find(r.descriptors.begin(), r.descriptors.end(), descriptor);
  if (found != r.descriptors.end()) r.descriptors.erase(found);
  if (r.descriptors.empty()) r.close_placeholder();
}

}  // namespace cairn::io
