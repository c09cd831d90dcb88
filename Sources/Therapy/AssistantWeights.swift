// Written by scripts/train-assistant with seed 20261124; see docs/ASSISTANT.md.

/// What the assistant has learned from synthetic households.
package enum AssistantWeights {
  /// In the order of ``AssistantFeature``.
  package static let weights: [Double] = [
    1.044177767162063,  // habit
    -1.1734815314445528,  // scale
    -2.3513819651383177,  // text recency
    0.5183463011653765,  // scale recency
    1.487599781751722,  // sitting
    -0.044811042583292375,  // moment
    0.6473013829098743,  // completeness
    1.258955018074184,  // containment
    -0.07610947633023869,  // distance
    1.1170060698537256,  // extreme
    0.07228785137670904,  // therapeutic weight
    0.4371319256398263,  // device reliability
    0.7831579110017723,  // past choices
  ]
  package static let calibration = Assistant.Calibration(scale: 0.994503687920481, shift: -0.01925459207889086)
}
