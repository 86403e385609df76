// What must not compile; mistakes_test.cc reads what the compiler says of each line.
#include <cairn/torch/checkpointer.h>

struct SavesOnly {
  void save_state(cairn::StateWriter& writer) const;
};

void wrong_use(cairn::Checkpointer& checkpointer) {
  const std::int64_t step = 0;
  SavesOnly saves_only;
  checkpointer.add_recoverable("step", step);
  checkpointer.add_recoverable("step", std::int64_t{0});
  checkpointer.add_recoverable("mine", saves_only);
}
