DROP TABLE praefect_own.disagreements;
