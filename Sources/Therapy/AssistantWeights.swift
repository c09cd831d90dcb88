// Written by scripts/train-assistant with seed 20261124; see docs/ASSISTANT.md.

/// What the assistant has learned from synthetic households.
package enum AssistantWeights {
  /// In the order of ``AssistantFeature``.
  package static let weights: [Double] = [
    1.1216742688824148,  // habit
    -1.2584678863217895,  // scale
    -2.5084368029850834,  // text recency
    0.5257852340210137,  // scale recency
    1.5724631170502852,  // sitting
    -0.04694382706063326,  // moment
    0.691443149188789,  // completeness
    1.420947496439872,  // containment
    -0.1380225717494182,  // distance
    1.1353428894786461,  // extreme
    0.0722536172459677,  // therapeutic weight
    0.4361103353227151,  // device reliability
    0.4524959993728479,  // past choices
  ]
  package static let calibration = Assistant.Calibration(scale: 0.9976656505643718, shift: -0.01878207677677025)
}
