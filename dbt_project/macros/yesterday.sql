{# The local day before the one that contains `moment`, as two UTC datetimes, `start` and `end`.
   A local day may have 23 or 25 hours. #}
{% macro yesterday(moment, timezone) -%}
    {%- if timezone not in modules.pytz.all_timezones -%}
        {%- do exceptions.raise_compiler_error(
            'The var timezone is ' ~ timezone ~ ': give an IANA name such as Europe/Amsterdam.'
        ) -%}
    {%- endif -%}
    {%- set zone = modules.pytz.timezone(timezone) -%}
    {%- set today = moment.astimezone(zone).date() -%}
    {%- do return({
        'start': first_instant(today - modules.datetime.timedelta(days=1), zone),
        'end': first_instant(today, zone),
    }) -%}
{%- endmacro %}
