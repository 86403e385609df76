#include "crash/legal_states.h"

#include <string>

namespace cairn::crash {

void LegalStates::apply(const Event& event) {
  if (event.kind != EventKind::kNote) return;
  const std::size_t space = event.name.find(' ');
  const std::string what = event.name.substr(0, space);
  const std::size_t number =
      space == std::string::npos ? 0 : std::stoul(event.name.substr(space + 1));
  if (what == "begin" || what == "abort") {
    in_flight_.push_back(number);
    will_fail_ = what == "abort";
  } else if (what == "done") {
    acknowledged_ = number;
    std::erase_if(in_flight_, [&](std::size_t begun) { return begun <= number; });
    doubtful_.clear();
    store_exists_ = true;
  } else if (what == "failed") {
    in_flight_.clear();
    doubtful_.push_back(number);
  } else if (what == "opened") {
    doubtful_.clear();
  } else if (what == "rot") {
    rot_ = number;
  } else if (what == "healed") {
    rot_.reset();
  }
}

Legal LegalStates::now() const {
  Legal legal{.models = {acknowledged_}, .store_exists = store_exists_, .rot = rot_};
  legal.models_without_catalog = legal.models;
  for (const std::size_t number : in_flight_) {
    if (!will_fail_) legal.models.push_back(number);
    legal.models_without_catalog.push_back(number);
  }
  for (const std::size_t number : doubtful_) legal.models_without_catalog.push_back(number);
  return legal;
}

}  // namespace cairn::crash
