// What must happen in a forked child: lock descriptors are closed, so that a dead parent's locks do
// not live on in it, and every handle made before the fork knows that it is not the child's.
#pragma once

#include <cstdint>

namespace cairn::io {

/// Counts forks between the first process and this one; a handle remembers the value at its birth
/// and refuses to work when it has changed.
std::uint64_t fork_generation() noexcept;

/// While it lives, `descriptor` is closed in every forked child (with `pthread_atfork`).
class CloseInChild {
 public:
  CloseInChild() = default;
  explicit CloseInChild(int descriptor);
  CloseInChild(CloseInChild&& other) noexcept;
  CloseInChild& operator=(CloseInChild&& other) noexcept;
  ~CloseInChild();

 private:
  void release() noexcept;
  int descriptor_ = -1;
};

}  // namespace cairn::io
