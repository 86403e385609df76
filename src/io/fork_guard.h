// What must happen in a forked child: lock descriptors are closed, so that a dead parent's locks do
// not live on in it, and every handle made before the fork knows that it is not the child's.
//
// Covers fork(2). A process made by vfork or posix_spawn goes on to exec, which closes descriptors
// by O_CLOEXEC; one made by a bare clone(2) is not covered.
#pragma once

#include <cstdint>

namespace cairn::io {

/// Counts forks between the first process and this one; a handle remembers the value at its birth
/// and refuses to work when it has changed.
std::uint64_t fork_generation() noexcept;

/// While it lives, no other thread can fork. Open a descriptor and make its `CloseInChild` under
/// one: a child forked between the two would keep the descriptor, and with it a lock taken later.
///
/// Threads: ends on the thread that made it. Hold it briefly, and neither fork nor make or end
/// another `HoldForks` or `CloseInChild(int)` under it: each would wait for ever.
class HoldForks {
 public:
  HoldForks();
  ~HoldForks();
  HoldForks(const HoldForks&) = delete;
  HoldForks& operator=(const HoldForks&) = delete;
};

/// While it lives, `descriptor` is closed in every forked child (with `pthread_atfork`).
///
/// In the child the number then stands for an inert descriptor: whoever owns it there may still
/// close it, once, without closing a file that the child has opened since.
/// Lifetime: end it before the descriptor is closed, lest its number be someone else's.
/// Errors: io.
class CloseInChild {
 public:
  CloseInChild() = default;
  explicit CloseInChild(int descriptor);
  CloseInChild(int descriptor, const HoldForks& hold);
  CloseInChild(CloseInChild&& other) noexcept;
  CloseInChild& operator=(CloseInChild&& other) noexcept;
  ~CloseInChild();

  void end() noexcept;
  void end(const HoldForks& hold) noexcept;

 private:
  int descriptor_ = -1;
  std::uint64_t generation_ = 0;
};

}  // namespace cairn::io
