"""leadglass: a medical-image archive that is closed by default, and a survey of those that are not."""
